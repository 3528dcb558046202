"""What is asked for and cannot be: one sentence, before anything is made, and 2 as for a wrong flag."""

from __future__ import annotations

import json

import pytest

from tests.pipelines.folders import save_tiny
from toca.pipelines.cli import app

FORA = {"method": "fora", "set": {"interval": 2}}
SMALL = {"peers": False, "prompts": 1, "steps": 3, "fewer_steps": [2]}
"""So that what is not refused after all ends soon."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = save_tiny("pixart", tmp_path_factory.mktemp("pipelines") / "[bold]x[" / "red]")
    (made / "prompts.json").write_text(json.dumps(["a red owl"]))
    return made


def typed(capsys, *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `toca eval …`."""
    with pytest.raises(SystemExit) as ended:
        app(["eval", *map(str, arguments)])
    found = capsys.readouterr()
    return ended.value.code, found.out, found.err


def check(code: int, error: str, said: str, output) -> None:
    assert code == 2, error
    assert error.startswith("Error: ") and error.count("\n") == 1 and len(error) < 900
    assert said in error
    assert not output.exists()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"methods": [{**FORA, "label": "full"}]}, "'full'"),
        ({"methods": [{**FORA, "label": "4 steps"}]}, "'4 steps'"),
        ({"methods": [{"method": "random", "label": "fora"}, "fora"]}, "'fora'"),
        ({"methods": [{**FORA, "label": "n" * 300}]}, "300 bytes"),
        ({"methods": [{"method": "fora", "set": {"interval": "x"}}]}, "'x'"),
        ({"methods": ["fora:interval=x"]}, "'x'"),
        ({"methods": ["toca:step_factor=[1.5"]}, "[1.5"),
        ({"methods": [{"method": "teacache", "set": {"threshold": float("inf")}}]}, "inf"),
        ({"guidance_scale": float("nan")}, "nan"),
        ({"guidance_scale": "nan"}, "nan"),
        ({"speedups": ["inf"]}, "inf"),
        ({"models": ["[/red]"]}, "[/red]"),
        ({"models": ["no\x1bmodel"]}, "no\\x1bmodel"),
        ({"models": ["a/" + "b" * 300]}, "bytes"),
        ({"models": [".."]}, "'..'"),
        ({"models": ["owner/name", "owner_name"]}, "would write the same files"),
    ],
)
def test_a_file_that_cannot_be_is_refused(tmp_path, capsys, data, said):
    config, output = tmp_path / "run.yaml", tmp_path / "out"
    config.write_text(
        json.dumps({**SMALL, "models": ["emoji"], **data}).replace("Infinity", ".inf").replace("NaN", ".nan")
    )
    code, _, error = typed(capsys, "run", config, "--output", output)
    check(code, error, said, output)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--variant", "fora:interval=x"], "'x'"),
        (["--variant", "fora:interval=[2"], "[2"),
        (["--variant", "toca:fresh_ratio=.nan"], "nan"),
        (["--guidance-scale", "nan"], "nan"),
        (["--set", "guidance_scale=.inf"], "inf"),
        (["--set", "speedups=[2"], "speedups"),
        (["--set", "speedups"], "'speedups'"),
        (["--set", "methods=[{method: fora, set: {interval: 2}, label: full}]"], "'full'"),
        (["--model", "[/red]"], "[/red]"),
        (["--model", "a\nb"], "a\\nb"),
        (["--shard", "3/2"], "'3/2'"),
        (["--threads", 10**9], "1000000000"),
        (["--samples", 10**30], "`samples`"),
        (["--guidance-scale", "1e308"], "1e+308"),
        (["--steps", 10**6], "1000000"),
        (["--dtype", "float12"], "'float12'"),
        (["--device", "tpu"], "'tpu'"),
        (["--clip", "emoji-clip", "--clip", "emoji-clip"], "'emoji-clip'"),
    ],
)
def test_flags_that_cannot_be_are_refused(tmp_path, capsys, flags, said):
    output = tmp_path / "out"
    code, _, error = typed(capsys, "generate", "--model", "emoji", "--prompts", 1, *flags, "--output", output)
    check(code, error, said, output)


def test_a_pipeline_whose_name_holds_markup_runs(folder, tmp_path, capsys):
    flags = ("--variant", "fora", "--set", "peers=false", "--set", "fewer_steps=[2]", "--steps", 3, "--device", "cpu")
    code, out, error = typed(capsys, "run", "--model", folder, *flags, "--repeats", 1, "--warmups", 1,
                             "--output", tmp_path / "out")  # fmt: skip
    assert code == 0, error
    saved = [line.removeprefix("Saved ") for line in out.splitlines() if line.startswith("Saved ")]
    assert len(saved) == 7 and all((tmp_path / "out" / name).is_file() for name in saved)
