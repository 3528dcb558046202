from __future__ import annotations

import json

from toca.pipelines.prompts import advice, known_prompts

CAPTIONS = ["red apple", "green apple", "owl", "rocket", "guitar"]


def test_known_words_need_no_advice():
    assert advice("a red owl", CAPTIONS) is None
    assert advice("The GREEN rocket", CAPTIONS) is None


def test_unknown_words_are_named_with_prompts_that_come_near():
    note = advice("a red aple beside a dragon", CAPTIONS)
    assert "aple, beside, dragon" in note
    assert "red apple" in note


def test_without_a_near_match_only_the_words_are_named():
    assert advice("zzz", CAPTIONS) == "The model does not know zzz."


def test_a_model_without_a_list_takes_any_prompt(tmp_path):
    assert known_prompts(tmp_path) == []
    assert advice("anything at all", []) is None


def test_the_list_lies_in_the_folder(tmp_path):
    (tmp_path / "prompts.json").write_text(json.dumps(CAPTIONS))
    assert known_prompts(tmp_path) == CAPTIONS
