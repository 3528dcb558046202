"""The lists of the field, as they are published: small files of the same make."""

from __future__ import annotations

import csv
import hashlib
import json
import random
from pathlib import Path

import pytest

from tests.helpers import tiny_dit_pipeline
from toca.eval.samples.prompt_lists import NAMED, named_list, read_list
from toca.eval.samples.prompts import Prompt, choose, find_prompts, items_of

DRAWBENCH = [
    ("A red colored car.", "Colors"),
    ("A stack of 3 plates. A blue plate is on the top, sitting on a blue plate.", "DALL-E"),
    ("Painting of the orange cat Otto von Garfield, Count of Bismarck-Schönhausen.", "Reddit"),
    ("A storefront with 'Hello World' written on it.", "Text"),
]
PARTI = [
    "0\tAbstract\tBasic\tSimple numbers but challenging",
    " A sloth in a go kart on a race track. The sloth is holding a banana in one hand.\tAnimals\tComplex\t",
    '"G I G G L E" painted in thick colorful lettering as graffiti\tIllustrations\tWriting & Symbols\t',
    'the saying "BE EXCELLENT TO EACH OTHER" on a rough wall\tOutdoor Scenes\tWriting & Symbols\t',
    "Salvador Dalí\tPeople\tBasic\t",
]
PARTI_HEADER = "Prompt\tCategory\tChallenge\tNote"


def drawbench(path: Path, rows: list[tuple[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("Prompts", "Category"), *rows])
    return path


def parti(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join([PARTI_HEADER, *lines]) + "\n", encoding="utf-8")
    return path


def coco(path: Path, entries: list[dict]) -> Path:
    path.write_text(json.dumps({"info": {}, "images": [], "annotations": entries}))
    return path


def captions(pictures: int, each: int = 5) -> list[dict]:
    return [
        {"image_id": 1000 - picture, "id": 7 * picture + i, "caption": f" Picture {1000 - picture}, said {i}\n"}
        for picture in range(pictures)
        for i in range(each)
    ]


def test_drawbench_is_a_csv_with_a_column_of_prompts(tmp_path):
    path = drawbench(tmp_path / "DrawBench Prompts - Sheet1.csv", DRAWBENCH)
    assert b"\r\n" in path.read_bytes() and b'"A stack of 3 plates.' in path.read_bytes()
    assert read_list(path, expected=4) == [prompt for prompt, _ in DRAWBENCH]


def test_a_mark_at_the_start_of_a_file_is_no_part_of_the_header(tmp_path):
    path = drawbench(tmp_path / "DrawBench.csv", DRAWBENCH)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read_list(path)) == 4


def test_parti_prompts_keep_their_own_quotation_marks(tmp_path):
    found = read_list(parti(tmp_path / "PartiPrompts.tsv", PARTI), expected=5)
    assert found[0] == "0"
    assert found[1].startswith("A sloth")
    assert found[2] == '"G I G G L E" painted in thick colorful lettering as graffiti'
    assert found[3] == 'the saying "BE EXCELLENT TO EACH OTHER" on a rough wall'
    assert found[4] == "Salvador Dalí"


def test_of_coco_one_caption_of_each_picture_is_read_in_the_order_of_the_pictures(tmp_path):
    found = read_list(coco(tmp_path / "captions_val2014.json", captions(40)), expected=40)
    assert [caption.partition(",")[0] for caption in found] == [f"Picture {number}" for number in range(961, 1001)]
    # By chance, not the first or the last of each.
    assert {caption[-1] for caption in found} == set("01234")


def test_cocos_captions_are_the_same_in_any_order_of_the_file(tmp_path):
    entries = captions(40)
    wanted = read_list(coco(tmp_path / "a.json", entries))
    random.Random(0).shuffle(entries)
    assert read_list(coco(tmp_path / "b.json", entries)) == wanted


def test_a_seed_chooses_captions_of_different_pictures(tmp_path):
    path = coco(tmp_path / "captions_val2014.json", captions(40))
    chosen = choose(find_prompts("emoji", None, path, expected=40), 30, seed=0)
    assert len({prompt.text.partition(",")[0] for prompt in chosen}) == 30
    assert chosen != choose(find_prompts("emoji", None, path), 30, seed=1)


def test_more_samples_than_a_memory_holds_are_refused():
    prompts = [Prompt(number, "an owl") for number in range(20)]
    assert len(items_of(prompts, 3)) == 60
    with pytest.raises(ValueError, match="`samples`: 1,000,000 of each of 20 prompts are more than 10,000,000"):
        items_of(prompts, 1_000_000)


def test_text_is_one_prompt_a_line_whatever_the_suffix(tmp_path):
    for name in ("mine.txt", "mine.list"):
        (tmp_path / name).write_text("an owl, asleep\n\n  a cat \n")
        assert read_list(tmp_path / name, expected=2) == ["an owl, asleep", "a cat"]


def test_our_own_list_has_200_prompts_of_the_pinned_hash():
    prompts = named_list("toca-200", expected=200)
    assert len(set(prompts)) == 200
    assert find_prompts("emoji", None, "toca-200") == [Prompt(i, text) for i, text in enumerate(prompts)]
    assert find_prompts("emoji", None, Path("toca-200"), expected=200)[0].text == prompts[0]


def test_our_own_list_is_verified_and_others_are_not_known(monkeypatch):
    with pytest.raises(ValueError, match="no-such.*choose from toca-200"):
        named_list("no-such")
    with pytest.raises(ValueError, match=f"SHA-256 {NAMED['toca-200']}, expected {'0' * 64}"):
        find_prompts("emoji", None, "toca-200", sha256="0" * 64)
    monkeypatch.setitem(NAMED, "toca-200", "1" * 64)
    with pytest.raises(ValueError, match=f"expected {'1' * 64}"):
        named_list("toca-200")


def test_a_pinned_file_is_read_only_as_it_was(tmp_path):
    path = drawbench(tmp_path / "DrawBench.csv", DRAWBENCH)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(find_prompts("emoji", None, path, digest.upper(), 4)) == 4
    path.write_bytes(path.read_bytes().replace(b"red", b"tan"))
    changed = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=f"DrawBench.csv has the SHA-256 {changed}, expected {digest}"):
        find_prompts("emoji", None, path, digest, 4)


def test_a_list_that_is_too_short_is_refused(tmp_path):
    path = drawbench(tmp_path / "DrawBench.csv", DRAWBENCH[1:])
    with pytest.raises(ValueError, match="DrawBench.csv holds 3 prompts, expected 4: get the published file"):
        read_list(path, expected=4)


def test_a_list_that_is_asked_for_must_be_named():
    for pins in ({"expected": 200}, {"sha256": "0" * 64}):
        with pytest.raises(ValueError, match="--prompts-file"):
            find_prompts("emoji", tiny_dit_pipeline(), **pins)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "a.csv has no column Prompts or Prompt, but none"),
        ("a.csv", "Text,Category\nan owl,Animals\n", "a.csv has no column Prompts or Prompt, but Text, Category"),
        ("a.csv", "Prompts,Category\n", "a.csv holds no prompt"),
        ("a.csv", "Prompts,Category\nan owl,Animals\n ,Animals\n", "a.csv has an empty prompt, line 3"),
        ("a.csv", 'Prompts,Category\n"an owl,Animals\na cat,Animals\n', "a.csv is no table of prompts: .* line 1"),
        ("a.tsv", "Category\tPrompt\nAnimals\n", "a.tsv has an empty prompt, line 2"),
        ("a.tsv", "Prompt,Category\nan owl,Animals\n", "a.tsv has no column Prompts or Prompt, but Prompt,Category"),
        ("a.json", "{", "a.json is no file of COCO captions, .*JSONDecodeError"),
        ("a.json", '["an owl"]', "a.json is no file of COCO captions, which holds `annotations`"),
        ("a.json", '{"annotations": [{"id": 1, "caption": "an owl"}]}', "a.json is no file of COCO .*'image_id'"),
        ("a.json", '{"annotations": [{"image_id": 1, "id": 2, "caption": " "}]}', "an empty prompt, caption 2"),
        ("a.json", '{"annotations": []}', "a.json holds no prompt"),
        ("a.txt", " \n", "a.txt holds no prompt"),
        ("a.txt", "\udcff", "a.txt is no text"),
        ("a.csv", "Prompts\n\udcff", "a.csv is no text in UTF-8"),
        ("a.json", "\udcff", "a.json is no text in UTF-8"),
    ],
)
def test_what_is_no_such_list_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=message):
        read_list(tmp_path / name)


def test_a_file_that_is_not_there_is_named(tmp_path):
    for name in ("nowhere.csv", "."):
        with pytest.raises(FileNotFoundError, match="There is no file"):
            read_list(tmp_path / name, sha256="0" * 64)
