"""A row leads to its samples, where these are, and to nowhere else."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image

from tests.eval.test_page import MACHINE, ROWS, named, results
from tests.eval.test_report import EVIL, Reader, plain_text
from toca.eval.report import Report, page, read_report, write_report
from toca.eval.report.sample_pages import NAME, samples_below, write_sample_pages
from toca.eval.report.table import make_table

ODD = "odd 100%#?é"


@pytest.fixture(autouse=True)
def undrawn(monkeypatch) -> None:
    monkeypatch.setattr(importlib.import_module("toca.eval.report.page"), "plots", lambda report: [])


def report(output: Path, frames: int = 1) -> Report:
    """Of a run whose samples lie in its folder; one variant has none."""
    found = results([*ROWS, named(ODD, ODD, 1.0, [33.0, None, 35.0])])
    names = [ODD, "fora interval=2", *(row.name for row in found.uncached)]
    folders = {name: output / "stages" / "emoji" / "pictures" / f"{name}-0a" for name in names}
    for folder in folders.values():
        folder.mkdir(parents=True)
        for prompt in range(3):
            for frame in range(frames):
                Image.new("RGB", (8, 8), (80 * prompt, 0, 0)).save(folder / f"p{prompt:06}-s000-f{frame:04}.png")
            (folder / f"p{prompt:06}-s000.npy").touch()
    return Report(found, MACHINE, "toca eval run", (2.0,), folders=folders | {"random": output / "gone"})


def addresses(path: Path) -> list[Path]:
    """The files that a page leads to or shows."""
    found = Reader(path.read_text(encoding="utf-8")).addresses
    return [path.parent / unquote(each) for each in found if not each.startswith(("#", "data:"))]


def test_each_row_leads_to_a_page_of_its_pictures(tmp_path):
    given = report(tmp_path)
    made = write_report(given, tmp_path)[0]
    assert addresses(made) == [
        given.folders[row.name] / NAME for row in given.rows if row.name in given.folders and row.name != "random"
    ]
    for path in addresses(made):
        full = path.parent == given.folders[given.full.name]
        back, *pictures = addresses(path)
        assert back.resolve() == made and len(pictures) == 3 * (2 if full else 4)
        assert all(picture.is_file() for picture in pictures)
        assert {picture.parent.resolve() for picture in pictures} == {path.parent, given.folders[given.full.name]}
    text = plain_text((given.folders[ODD] / NAME).read_text(encoding="utf-8"))
    assert "an owl 33.0 dB · prompt 0, sample 0" in text and "a cat identical · prompt 1" in text


def test_each_folder_of_samples_is_read_once(tmp_path, monkeypatch):
    given, read, iterdir = report(tmp_path), [], Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: read.append(folder) or iterdir(folder))
    write_report(given, tmp_path)
    pictures = [folder for folder in read if folder.parent.name == "pictures"]
    assert sorted(pictures) == sorted(folder for folder in given.folders.values() if folder.is_dir())


def test_each_row_leads_to_its_command():
    given = Report(results(), MACHINE, "toca eval run", (2.0,))
    made = page(given)
    table = made[made.index('<table id="settings"') : made.index("</table>")]
    links = re.findall(r'href="#again-(\d+)"', table)
    assert len(links) == len(make_table(given).lines)
    for row, number in zip(given.rows, links, strict=True):
        name, command = re.search(rf'id="again-{number}">(.*?)</dt>\s*<dd><code>(.*?)</code>', made, re.S).groups()
        assert name == row.name and command.startswith("toca eval run ")


def test_what_is_not_below_the_page_is_not_led_to(tmp_path):
    given = report(tmp_path / "run")
    assert samples_below(given, tmp_path / "elsewhere") is None
    made = write_report(given, tmp_path / "elsewhere")[0]
    assert addresses(made) == [] and "'self'" not in made.read_text()
    assert not list((tmp_path / "run").rglob(NAME))
    shutil.rmtree(given.folders[given.full.name])
    assert samples_below(given, tmp_path / "run") is None  # what the others are held against is gone
    assert page(read_report(tmp_path / "elsewhere" / "emoji.json")) == made.read_text(encoding="utf-8")


def test_of_a_video_it_is_the_frame_in_the_middle_and_of_many_samples_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr("toca.eval.report.sample_pages.MOST_LISTED", 2)
    given = report(tmp_path, frames=3)
    write_sample_pages(given, samples_below(given, tmp_path), tmp_path / "emoji.html")
    path = given.folders[given.full.name] / NAME
    names = [each.name for each in addresses(path)[1:]]
    assert names == [f"p00000{prompt}-s000-f0001.png" for prompt in (0, 0, 1, 1)]
    assert "The first 2 of 3 samples" in plain_text(path.read_text())


def test_texts_of_others_are_only_text(tmp_path):
    given = report(tmp_path)
    items = [(number, 0, EVIL) for number in range(3)]
    given = replace(given, results=replace(given.results, model=EVIL, config={**given.results.config, "items": items}))
    write_sample_pages(given, samples_below(given, tmp_path), tmp_path / "emoji.html")
    made = (given.folders[given.full.name] / NAME).read_text()
    assert "<script" not in made and "alert(" in made and not Reader(made).images_without_alt


@pytest.mark.skipif(shutil.which("chromium") is None, reason="Debian's chromium is not installed")
def test_a_page_that_was_copied_away_has_no_dead_link(tmp_path):
    made = write_report(report(tmp_path / "a run"), tmp_path / "a run")[0]
    away = shutil.copy(made, tmp_path)

    def shown(path: Path) -> list[bool]:
        words = "chromium --headless --no-sandbox --disable-gpu --virtual-time-budget=3000 --dump-dom".split()
        words += [f"--user-data-dir={tmp_path / 'profile'}", Path(path).as_uri()]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stdout
        return ["hidden" not in link for link in re.findall(r'<a class="to-samples"[^>]*>', done)]

    assert all(there := shown(made)) and len(there) > 3
    assert not any(gone := shown(away)) and len(gone) == len(there)
