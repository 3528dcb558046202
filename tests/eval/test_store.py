"""Results that are there once, whole, and never another's."""

from __future__ import annotations

import pytest

from toca.eval.environment import fingerprint
from toca.eval.store import Store, slug, write_json


def test_a_result_is_found_under_its_key_only(tmp_path):
    store = Store(tmp_path)
    assert store.load("speed", "fora", {"seed": 0}) is None
    saved = store.save("speed", "fora", {"seed": 0}, {"loop": (1.5, 2)})
    assert saved["loop"] == [1.5, 2]
    assert saved["taken_at"]
    assert Store(tmp_path).load("speed", "fora", {"seed": 0}) == saved
    assert store.load("speed", "fora", {"seed": 1}) is None
    assert store.load("pictures", "fora", {"seed": 0}) is None
    assert store.load("speed", "toca", {"seed": 0}) is None


def test_a_name_makes_no_folder(tmp_path):
    Store(tmp_path).save("speed", "toca/pixart interval=2", {}, {})
    [file] = (tmp_path / "speed").iterdir()
    assert file.name.startswith("toca_pixart_interval=2-")
    assert slug("../x") == ".._x"


def test_what_is_no_number_in_json_is_not_written(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "file.json", {"psnr": float("inf")})
    assert list(tmp_path.iterdir()) == []


def test_a_fingerprint_tells_contents_and_names_apart(tmp_path):
    a, b = tmp_path / "a.py", tmp_path / "b.py"
    a.write_text("1")
    b.write_text("2")
    before = fingerprint([a, b])
    assert before == fingerprint([b, a])
    a.write_text("12")
    b.write_text("")
    assert fingerprint([a, b]) != before
