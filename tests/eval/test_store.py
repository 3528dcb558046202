"""Results that are there once, whole, and never another's."""

from __future__ import annotations

import json

import pytest

from toca.eval.store.environment import fingerprint
from toca.eval.store.naming import slug
from toca.eval.store.sealed import write_json
from toca.eval.store.store import Store


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


def changed(content: bytes, **values) -> bytes:
    """A file with other values in its result."""
    data = json.loads(content)
    return json.dumps(data | {"result": data["result"] | values}).encode()


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: b"\0" * len(whole),
        lambda whole: b"\xff\xfe",
        lambda whole: b"null",
        lambda whole: b"[1, 2]",
        lambda whole: b'{"result": {"loop": 1}}',
        lambda whole: b"[" * 200_000,
        lambda whole: changed(whole, loop="1.5"),
        lambda whole: changed(whole, loop=1.6),
        lambda whole: json.dumps(json.loads(whole) | {"key": {"seed": 2}}).encode(),
        lambda whole: json.dumps({**json.loads(whole), "result": []}).encode(),
    ],
)
def test_a_damaged_file_is_named_and_set_aside_and_makes_room(tmp_path, capsys, damage):
    store = Store(tmp_path)
    store.save("speed", "fora", {"seed": 0}, {"loop": 1.5})
    [path] = (tmp_path / "speed").iterdir()
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    assert store.load("speed", "fora", {"seed": 0}) is None
    said = capsys.readouterr().err
    assert said.startswith(f"{path} is damaged (") and said.count("\n") == 1
    [aside] = (tmp_path / "speed").iterdir()
    assert aside.name in said and aside.read_bytes() == damaged
    saved = store.save("speed", "fora", {"seed": 0}, {"loop": 1.5})
    assert store.load("speed", "fora", {"seed": 0}) == saved and capsys.readouterr().err == ""


def test_the_file_of_another_result_is_not_taken(tmp_path, capsys):
    store = Store(tmp_path)
    for seed in (0, 1):
        store.save("speed", "fora", {"seed": seed}, {"loop": seed})
    one, other = (store.path("speed", "fora", {"seed": seed}) for seed in (0, 1))
    one.write_bytes(other.read_bytes())
    assert store.load("speed", "fora", {"seed": 0}) is None
    assert "the result of something else" in capsys.readouterr().err


def test_keys_and_results_that_json_changes_are_found_again(tmp_path):
    key, result = {"items": ((2, "a"), (10, "b")), "counts": {10: 1, 2: 2}}, {"steps": {10: 1, 2: 3}}
    saved = Store(tmp_path).save("speed", "fora", key, result)
    assert Store(tmp_path).load("speed", "fora", key) == saved


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
