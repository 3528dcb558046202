"""Variants from the command line, from a file, and by default."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

import toca
from tests.helpers import tiny_pixart
from toca.eval.variants import BASELINE, Lineup, Variant, every_method, expand, fewer_steps, parse_variant
from toca.methods.presets import presets
from toca.pipelines.registry import EMBEDDED


def names(lineup: Lineup) -> list[str]:
    return [variant.name for variant in lineup.variants]


def test_a_name_is_a_preset_or_a_method_as_it_is():
    [preset] = parse_variant("toca/pixart").variants
    assert preset == Variant("toca/pixart", "toca/pixart", toca.preset("toca/pixart"))
    [method] = parse_variant("fora").variants
    assert method.method == toca.FORA()


def test_values_make_a_variant_each():
    lineup = parse_variant("fora:interval=2,4")
    assert names(lineup) == ["fora interval=2", "fora interval=4"]
    assert [variant.method.interval for variant in lineup.variants] == [2, 4]
    assert {variant.group for variant in lineup.variants} == {"fora"}


def test_several_fields_make_every_combination_and_values_are_yaml():
    lineup = parse_variant("toca:interval=2,3;step_factor=[1.5, -1.0],[1.0, 0.0]")
    assert [(v.method.interval, v.method.step_factor) for v in lineup.variants] == [
        (2, (1.5, -1.0)),
        (2, (1.0, 0.0)),
        (3, (1.5, -1.0)),
        (3, (1.0, 0.0)),
    ]
    assert len(set(names(lineup))) == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fora:interval=0,2", "'fora interval=0' cannot be: `interval` must be at least 1, got 0"),
        ("fora:interval=x", "'fora interval=x' cannot be: 'x' does not fit FORA.interval"),
        ("fora:speed=3", "'fora speed=3' cannot be: FORA has no field 'speed'"),
        ("toca:fresh_ratio=.nan", "'toca:fresh_ratio=.nan' cannot be read: .*nan is no finite number"),
        ("teacache:threshold=.inf", "threshold=.inf: .*inf is no finite number"),
        ("toca:fresh_ratio=nan", "'toca fresh_ratio=nan' cannot be"),
        ("toca:step_factor=[1.5", r"'toca:step_factor=\[1.5' cannot be read: step_factor=\[1.5: .* no YAML"),
        ("fora:interval=2]", r"'fora:interval=2\]' cannot be read"),
        ("fora:interval={", "cannot be read"),
        ("fora:interval=", "The field 'interval' of 'fora' has no value"),
        ("fora:interval=2;interval=3", "sets interval twice"),
        ("fora:=2", "A variant is NAME:key=value"),
        ("x" * 5000, "Unknown method 'xxx"),
        ("fora\0", "Unknown method"),
    ],
)
def test_what_cannot_be_is_refused_by_one_sentence(text, said):
    with pytest.raises(ValueError, match=said) as raised:
        parse_variant(text)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 700


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("full", "labelled 'full', as runs without a cache are"),
        (" Full ", "labelled ' Full '"),
        ("4 steps", "labelled '4 steps'"),
        ("1 step", "labelled '1 step'"),
        ("fewer steps", "labelled 'fewer steps'"),
        ("peer:mine", "labelled 'peer:mine', and is no peer"),
        ("", "empty name"),
        ("  ", "empty name"),
        ("a\nb", r"'a\\nb' has characters in its name that cannot be shown"),
        ("\x1b[31mred", "cannot be shown"),
        ("right\u202eleft", "cannot be shown"),
        ("half\udcff", "cannot be shown"),
        ("n" * 161, "a name of 161 bytes, and files can be named by 160"),
        ("鳥" * 60, "a name of 180 bytes"),
    ],
)
def test_a_label_that_cannot_be_one_is_refused(label, said):
    with pytest.raises(ValueError, match=said) as raised:
        expand("fora", {}, {"interval": 2}, label)
    assert str(raised.value).isprintable() and len(str(raised.value)) < 300


@pytest.mark.parametrize("label", ["[bold]a | b[/]", "<script>", "20 steps of FORA", "full speed", "n" * 160])
def test_other_labels_are_taken_as_they_are(label):
    assert names(expand("fora", {}, {"interval": 2}, label)) == [f"{label}: fora interval=2"]


def test_a_grid_and_fixed_fields_do_not_meet():
    with pytest.raises(ValueError, match="'interval' of 'fora' has no value"):
        expand("fora", {"interval": []})
    with pytest.raises(ValueError, match="'interval' of 'mine' is in `set` and in `grid`"):
        expand("fora", {"interval": [2]}, {"interval": 3}, "mine")


def test_two_methods_do_not_share_a_label():
    for other in (expand("teacache", {"threshold": [0.1]}, None, "fora"), expand("teacache", {}, None, "fora")):
        lineup = parse_variant("fora:interval=2")
        with pytest.raises(ValueError, match="labelled 'fora': give one of them another label"):
            lineup.extend(other)
    lineup = expand("fora", {}, {"interval": 2}, "mine")
    lineup.extend(expand("fora", {}, {"interval": 4}, "mine"))
    assert names(lineup) == ["mine: fora interval=2", "mine: fora interval=4"]
    with pytest.raises(ValueError, match="Two variants are called 'mine: fora interval=2'"):
        lineup.add(replace(lineup.variants[0], method=toca.FORA(interval=4)))


@pytest.mark.parametrize("text", ["forra", "fora:interval"])
def test_a_slip_of_the_pen_stops_the_run(text):
    with pytest.raises(ValueError, match="forra|key=value"):
        parse_variant(text)


def test_a_plan_file_is_a_variant(tmp_path):
    path = tmp_path / "plan.yaml"
    toca.FORA(2).plan(tiny_pixart(), 4).save(path)
    [variant] = parse_variant(str(path)).variants
    assert isinstance(variant.method, toca.Plan)
    assert variant.describe()["method"]["plan"]


def test_a_method_takes_the_calibration_beside_the_model():
    lineup = parse_variant("magcache:threshold=0.1").for_model("emoji")
    assert lineup.variants[0].method.calibration == str(EMBEDDED / "calibration" / "magcache.json")
    assert lineup.variants[0].method.threshold == 0.1
    assert names(parse_variant("fora").for_model("emoji")) == ["fora"]


def test_by_default_every_preset_and_method_is_there_once():
    lineup = every_method()
    methods = [variant.method for variant in lineup.variants]
    assert all(methods.count(method) == 1 for method in methods)
    assert all(preset in methods for preset in presets().values())
    assert "random" in names(lineup)
    assert "fora" not in names(lineup)  # equals the preset fora/dit


def test_fewer_steps_run_up_to_one_less_than_all():
    assert [variant.steps for variant in fewer_steps(20)] == list(range(4, 20))
    assert [variant.steps for variant in fewer_steps(6)] == [2, 3, 4, 5]
    assert [variant.steps for variant in fewer_steps(6, (5, 3, 3))] == [3, 5]
    assert all(variant.method is None for variant in fewer_steps(6))


def test_more_steps_are_no_fewer():
    with pytest.raises(ValueError, match="6 are no fewer than the 6 steps"):
        fewer_steps(6, (3, 6))


def test_the_content_of_a_file_that_a_method_reads_counts(tmp_path):
    @dataclass(frozen=True)
    class Reader(toca.FORA):
        path: str = ""

    variant = Variant("reader", "reader", Reader(path=str(tmp_path / "file.json")))
    seen = []
    for content in (None, "1", "2"):
        if content is not None:
            (tmp_path / "file.json").write_text(content)
        seen.append(variant.describe())
    assert seen[0] != seen[1] != seen[2] != seen[0]


def test_a_description_tells_settings_apart():
    two, three = parse_variant("fora:interval=2,3").variants
    assert two.describe() != three.describe()
    assert two.describe() == parse_variant("fora:interval=2").variants[0].describe()
    assert BASELINE.describe() != fewer_steps(6)[0].describe()
