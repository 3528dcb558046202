from __future__ import annotations

import json

import pytest

from tests.helpers import tiny_tokenizer
from toca.pipelines.prompts import advice, known_names, known_prompts, unknown_words
from toca.pipelines.registry import EMBEDDED

CAPTIONS = ["red owl", "green owl", "cat", "star", "tree house"]


def test_known_words_need_no_advice():
    assert advice("a red owl", CAPTIONS, tiny_tokenizer()) is None


def test_unknown_words_are_named_with_prompts_that_come_near():
    note = advice("a red owll beside a dragon", CAPTIONS, tiny_tokenizer())
    assert "does not know owll, beside, dragon." in note
    assert "red owl" in note


def test_known_words_that_name_no_picture_are_said_so():
    names = [*CAPTIONS, "owl in red"]
    assert advice("an owl, red", CAPTIONS, tiny_tokenizer(), names) is None
    note = advice("a green cat", CAPTIONS, tiny_tokenizer(), names)
    assert "no picture of this name" in note and "cat" in note


def test_without_a_near_match_only_the_words_are_named():
    assert advice("zzz", CAPTIONS, tiny_tokenizer()) == "The model does not know zzz."


def test_each_unknown_word_is_named_once():
    assert unknown_words("Zebra, zebra; red zebra-fish!", tiny_tokenizer()) == ["zebra", "zebra-fish"]


def test_a_model_without_a_list_takes_any_prompt(tmp_path):
    assert known_prompts(tmp_path) == []
    assert advice("anything at all", [], tiny_tokenizer()) is None


def test_the_list_lies_in_the_folder(tmp_path):
    (tmp_path / "prompts.json").write_text(json.dumps(CAPTIONS))
    assert known_prompts(tmp_path) == CAPTIONS


@pytest.mark.parametrize("text", ["5", '{"a": 1}', "[1]", "[[]]", "[" * 100_000, "{ not json"])
def test_a_file_of_that_name_that_is_no_list_of_texts_is_not_ours(tmp_path, text):
    (tmp_path / "prompts.json").write_text(text)
    (tmp_path / "names.json").write_text(text)
    assert known_prompts(tmp_path) == known_names(tmp_path) == []


def test_a_model_without_a_tokenizer_that_knows_its_words_needs_no_advice():
    assert advice("a zebra", CAPTIONS, None) is None


@pytest.mark.matrix  # most of a minute
@pytest.mark.skipif(not (EMBEDDED / "prompts.json").exists(), reason="the embedded model is not trained yet")
def test_the_embedded_model_knows_its_own_prompts():
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(EMBEDDED / "tokenizer")
    captions = known_prompts(EMBEDDED)
    assert [caption for caption in captions if advice(caption, captions, tokenizer)] == []
    assert advice("a red apple", captions, tokenizer) is None
    assert "apple" in advice("a red aple", captions, tokenizer)
    names = known_names(EMBEDDED)
    assert [name for name in names if advice(name, captions, tokenizer, names)] == []
    assert advice("a slice of pizza", captions, tokenizer, names) is None
    assert "rocket" in advice("a green cat on a purple rocket", captions, tokenizer, names)
