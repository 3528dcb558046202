"""Files from strangers: read within bounds, and every fault is one sentence that names the file."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from toca.checks import LONGEST_SHOWN, cleaned, shown
from toca.files import reading
from toca.files.reading import parse_json, parse_yaml, read_bytes, read_json, read_text, read_yaml


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (3, "3"),
        (2.5, "2.5"),
        ("three", "'three'"),
        ("a\x1b[31mred\n\u202eder", "'a\\x1b[31mred\\n\\u202eder'"),
        ("x" * 10**6, "'xxx"),
        (10**400, "1000"),
        (10**100_000, "an integer of 332193 bits"),
        ([1, [2, [3, [4, [5, [6]]]]]], "[1, [2"),
        ({"a": float("nan")}, "{'a': nan}"),
        (torch.zeros(3, 3), "tensor([[0"),
        (np.float64("nan"), "nan"),
        ("half \ud800", "\\ud800"),
    ],
    ids=range(12),
)
def test_a_message_shows_any_value_on_one_short_line(value: Any, words: str) -> None:
    text = shown(value)
    assert words in text
    assert len(text) <= LONGEST_SHOWN and text.isprintable()
    text.encode()


def test_a_message_shows_what_has_no_end_or_no_repr() -> None:
    nested: list = []
    for _ in range(100_000):
        nested = [nested]
    round_and_round: list = []
    round_and_round.append(round_and_round)

    class Shy:
        def __repr__(self) -> str:
            raise RuntimeError

    for value in (nested, round_and_round, Shy(), list(range(10**6))):
        assert len(shown(value)) <= LONGEST_SHOWN


def test_text_of_a_stranger_is_cleaned() -> None:
    assert cleaned("a\x1b]0;b\x07 \n c") == "a\\x1b]0;b\\x07 c"
    assert len(cleaned("é\n" * 10**6, 100)) == 100
    assert cleaned("as it is") == "as it is"


DATA = {"a": [1, 2.5, None, True], "b": {"c": "text", "-": -3}, "empty": [], "none": {}, "bang": "2020-01-01"}


def test_what_is_in_bounds_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text(json.dumps(DATA))
    assert read_json(path) == DATA and read_yaml(path) == DATA
    path.write_text(yaml.safe_dump(DATA))
    assert read_yaml(path) == DATA
    path.write_bytes("\ufeff[é]".encode())
    assert read_yaml(path) == ["é"] and read_text(path) == "[é]"
    assert parse_yaml("") is None and parse_yaml("a: 1_000\nb: 0x10\nc: !!str 3") == {"a": 1000, "b": 16, "c": "3"}


@pytest.fixture(autouse=True)
def few_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound that is quickly reached."""
    monkeypatch.setattr(reading, "MOST_VALUES", 1000)


LAUGHS = "a: &a [1, 1]\nb: &b [*a, *a]\nc: [*b, *b]"
DEEP = 100_000
WRONG_JSON = {
    "nothing": ("", "line 1"),
    "broken": ('{"a":\n[1, }', "line 2.*no JSON"),
    "deep": ("[" * DEEP, "levels deep"),
    "deep-and-whole": ("[" * 500 + "]" * 500, "levels deep"),
    "deep-mappings": ('{"a":' * DEEP, "levels deep"),
    "nan": ('{"a": [1, NaN]}', r"a\[1\]: nan is no finite number"),
    "infinite": ('{"a": {"b": -Infinity}}', "a.b: -inf is no finite number"),
    "overflow": ("[1e400]", r"\[0\]: inf is no finite"),
    "digits": ('{"a": ' + "9" * 400 + "}", "999....*more than 19 digits"),
    "many-digits": ("1" * 10**6, "more than 19 digits"),
    "beyond-64-bits": ("[9999999999999999999]", "64 bits"),
    "twice": ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' stands twice"),
    "half-a-character": ('["\\ud800"]', "half a character"),
    "many": ("[" + "0," * 1000 + "0]", "more than the .* values"),
}
WRONG_YAML = {
    "broken": ("a: [1\nb: {", "line 2.*no YAML"),
    "laughs": (LAUGHS, "line 1: an alias"),
    "anchor-on-a-scalar": ("a: &x 3", "line 1: an alias"),
    "alias": ("a: *x", "line 1: an alias"),
    "deep": ("[" * DEEP, "levels deep|nesting depth"),
    "deep-and-whole": ("[" * 500 + "]" * 500, "levels deep"),
    "deep-mappings": ("{a: " * DEEP, "levels deep"),
    "deep-blocks": ("- " * 300 + "1", "levels deep"),
    "nan": ("steps:\n- ff: .nan", r"steps\[0\].ff: nan is no finite"),
    "infinite": ("a: -.inf", "a: -inf is no finite"),
    "digits": ("a: " + "9" * 400, "more than 19 digits"),
    "beyond-64-bits": ("a: 0xFFFFFFFFFFFFFFFFFF", "64 bits"),
    "twice": ("a: 1\nb: 2\na: 3", "'a' stands twice"),
    "list-as-key": ("? [1]\n: 2", "cannot be a key"),
    "python": ("a: !!python/object/apply:os.system [ls]", "python.*not read here"),
    "tag": ("a: !colour red", "!colour.*not read here"),
    "binary": ("a: !!binary aGk=", "binary.*not read here"),
    "no-float": ("a: !!float red", "line 1: 'red' is no float"),
    "two-documents": ("a: 1\n---\nb: 2", "second document"),
    "control": ("a: \x00\x1b", "YAML"),
    "many": ("[" + "0," * 1000 + "0]", "more than the .* values"),
}


@pytest.mark.parametrize("case", WRONG_JSON)
def test_bad_json_is_refused_in_a_sentence(tmp_path: Path, case: str) -> None:
    _check_refused(tmp_path, *WRONG_JSON[case], read_json, parse_json)


@pytest.mark.parametrize("case", WRONG_YAML)
def test_bad_yaml_is_refused_in_a_sentence(tmp_path: Path, case: str) -> None:
    _check_refused(tmp_path, *WRONG_YAML[case], read_yaml, parse_yaml)


@pytest.mark.parametrize("case", WRONG_YAML)
def test_the_parser_in_python_refuses_the_same(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.setattr(reading, "_Parser", yaml.SafeLoader)
    with pytest.raises(ValueError, match=WRONG_YAML[case][1]):
        parse_yaml(WRONG_YAML[case][0])


def _check_refused(folder: Path, text: str, words: str, read: Any, parse: Any) -> None:
    path = folder / "from-a-stranger"
    path.write_text(text)
    start = time.perf_counter()
    with pytest.raises(ValueError, match=f"from-a-stranger cannot be read: .*{words}") as error:
        read(path)
    assert time.perf_counter() - start < 1
    message = str(error.value)
    assert message.endswith(".") and message.isprintable() and len(message) < 300 + len(str(path))
    with pytest.raises(ValueError, match=words):
        parse(text)


def test_only_regular_files_of_a_bounded_size_are_read(tmp_path: Path) -> None:
    pipe, folder, binary, long = (tmp_path / name for name in ("pipe", "folder", "binary", "long"))
    os.mkfifo(pipe)
    folder.mkdir()
    binary.write_bytes(b"text \xff")
    long.write_bytes(b"x" * 1001)
    for path in (pipe, folder, Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(ValueError, match=f"{path.name} is no regular file"):
            read_bytes(path)
    with pytest.raises(ValueError, match="binary is no text in UTF-8: byte 5"):
        read_text(binary)
    with pytest.raises(ValueError, match="long is larger than the 1,000 bytes"):
        read_bytes(long, 1000)
    assert len(read_bytes(long, 1001)) == 1001
    with pytest.raises(FileNotFoundError, match="none"):
        read_text(tmp_path / "none")


def test_a_file_that_grows_while_it_is_read_is_not_followed() -> None:
    """What says that it holds nothing, and holds more and more."""
    endless = Path("/proc/self/pagemap")
    if not endless.exists():
        pytest.skip("needs /proc")
    with pytest.raises(ValueError, match="larger than"):
        read_bytes(endless, 10_000)
