"""Tokenizer, text encoder and captions.

The text encoder is a T5 encoder that is never trained: every output state is the embedding of its own token,
normalised, since the attention and feed-forward outputs are zero. Trained jointly on so few captions it collapses;
fixed random vectors, nearly orthogonal, give the transformer words that it can tell apart from the first step on.
"""

import random

import numpy as np
import torch
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import NFKD, Lowercase, Replace, Sequence, Strip, StripAccents
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

from .data import SMALL_WORDS, Entry, normalise

PAD, EOS, UNK = "<pad>", "</s>", "<unk>"
LENGTH = 16  # tokens of a training caption; the pipeline pads to 120 and masks the rest, which gives the same result
VARIANTS = 96  # wordings drawn of each picture


def other_number(word: str) -> str | None:
    """A noun's plural from its singular, or the other way round, by rule of thumb."""
    if len(word) < 3 or not word.isalpha() or word.endswith(("ss", "us", "is", "ed", "ing")):
        return None
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith("s"):
        return word[:-1]
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("ch", "sh", "x")) else "s")


def vocabulary(entries: list[Entry]) -> tuple[list[str], dict[str, str]]:
    """Every word of every caption, and the plural or singular forms that share another word's embedding."""
    texts = [text for entry in entries for text in (entry.label, *entry.names, *entry.tags)]
    words = {word for text in texts for word in normalise(text).split()} | SMALL_WORDS
    nouns = {(normalise(text).split() or [""])[-1] for entry in entries for text in (entry.label, *entry.names)}
    forms = {other_number(noun): noun for noun in sorted(nouns)}
    forms = {form: noun for form, noun in forms.items() if form and form not in words}
    return [PAD, EOS, UNK, *sorted(words), *sorted(forms)], forms


def build_tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    """One token a word; punctuation, case and accents do not matter; what is not in the list becomes `<unk>`."""
    core = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token=UNK))
    clean = [NFKD(), StripAccents(), Lowercase(), Replace(Regex("['\u2019]"), ""), Replace(Regex("[^a-z0-9]+"), " ")]
    core.normalizer = Sequence([*clean, Strip()])
    core.pre_tokenizer = WhitespaceSplit()
    core.post_processor = TemplateProcessing(single=f"$A {EOS}", special_tokens=[(EOS, words.index(EOS))])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=PAD, eos_token=EOS, unk_token=UNK, model_max_length=120
    )


@torch.no_grad()
def build_encoder(words: list[str], forms: dict[str, str], width: int = 192, seed: int = 0) -> T5EncoderModel:
    """The frozen encoder. Words without meaning, known or not, have the zero vector: they say nothing."""
    config = T5Config(
        vocab_size=len(words), d_model=width, d_kv=16, num_heads=2, d_ff=32, num_layers=2, pad_token_id=0,
        eos_token_id=1, decoder_start_token_id=0, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(seed)
    encoder = T5EncoderModel(config).eval().requires_grad_(False)
    table = encoder.shared.weight.normal_()
    index = {word: i for i, word in enumerate(words)}
    for form, noun in forms.items():
        table[index[form]] = table[index[noun]]
    table[[index[word] for word in (UNK, *sorted(SMALL_WORDS))]] = 0
    for name, parameter in encoder.named_parameters():
        if name.endswith((".o.weight", ".wo.weight")):
            parameter.zero_()
    return encoder


@torch.no_grad()
def token_states(encoder: T5EncoderModel) -> torch.Tensor:
    """The encoder's output for every token, (vocabulary, width): with it training needs a look-up only."""
    ids = torch.arange(encoder.config.vocab_size, device=encoder.device)[:, None]
    return encoder(ids).last_hidden_state[:, 0].float()


def word_a_caption(entry: Entry, strays: list[str], draw: random.Random) -> list[str]:
    """One wording: a name, perhaps in company of tags, of unknown words or of one known word that is beside the point.

    The last two are what lets "a glossy red apple" work: the model learns what to pass over.
    """
    name = entry.label if not entry.names or draw.random() < 0.5 else draw.choice(entry.names)
    words = normalise(name).split()
    if entry.tags and draw.random() < 0.25:
        tags = draw.sample(entry.tags, min(len(entry.tags), draw.randint(1, 3)))
        words += [word for tag in tags for word in tag.split()]
    if draw.random() < 0.1:
        words.insert(draw.randint(0, len(words)), draw.choice(strays))
    if draw.random() < 0.5:
        for _ in range(draw.randint(1, 4)):
            words.insert(draw.randint(0, len(words)), UNK)
    return words


def caption_table(entries: list[Entry], tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> torch.Tensor:
    """Token ids of many wordings of each picture, (pictures, VARIANTS, LENGTH). The first is the bare label."""
    draw = random.Random(seed)
    index = tokenizer.get_vocab()
    names = {word for entry in entries for text in (entry.label, *entry.names) for word in normalise(text).split()}
    strays = sorted({word for entry in entries for tag in entry.tags for word in tag.split()} - names) or [UNK]
    table = np.full((len(entries), VARIANTS, LENGTH), index[PAD], dtype=np.int64)
    for i, entry in enumerate(entries):
        for j in range(VARIANTS):
            words = word_a_caption(entry, strays, draw) if j else normalise(entry.label).split()
            ids = [index[word] for word in words][: LENGTH - 1] + [index[EOS]]
            table[i, j, : len(ids)] = ids
    return torch.from_numpy(table)
