"""Tokenizer, text encoder and captions.

The encoder starts as a dictionary of random, nearly orthogonal vectors, so that words can be told apart from the first
step on; `train_text.py` then teaches it, beside emoji-clip, what the words look like. Trained jointly with a denoiser
on so few captions it would collapse.
"""

import hashlib
import random
from collections.abc import Collection, Iterable

import numpy as np
import torch
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import NFKD, Lowercase, Replace, Sequence, Strip, StripAccents
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedModel, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from .emoji_data import DEFAULT_STYLE, SMALL_WORDS, STYLES, Entry, normalise

PAD, EOS, UNK = "<pad>", "</s>", "<unk>"
LENGTH = 16  # tokens of a training caption; the pipeline pads to 120 and masks the rest, which gives the same result


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


def vocabulary(entries: list[Entry], extra: Iterable[str] = ()) -> tuple[list[str], dict[str, str]]:
    """Every word of every name, and the plural or singular forms that share another word's embedding.

    Words that stand in loose tags only are left out: they say nothing that a name does not.

    Args:
        extra: further words, such as those of motions.
    """
    texts = [text for entry in entries for text in (entry.label, *entry.names)]
    words = {word for text in texts for word in normalise(text).split()} | SMALL_WORDS | {*STYLES, "style", *extra}
    nouns = {(normalise(text).split() or [""])[-1] for text in texts}
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


def word_vector(word: str, width: int) -> torch.Tensor:
    """A random vector that is always the same for the same word, whatever vocabulary it stands in."""
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:7], "big")
    return torch.randn(width, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def build_encoder(
    words: list[str], forms: dict[str, str], width: int, layers: int, silent: Collection[str] = ()
) -> T5EncoderModel:
    """A T5 encoder that starts as a dictionary: each state is its own token's vector, for no layer adds anything yet.

    Words without meaning, known or not, and `silent` ones have the zero vector: they say nothing.
    """
    config = T5Config(
        vocab_size=len(words), d_model=width, d_kv=32, num_heads=2, d_ff=64, num_layers=layers, pad_token_id=0,
        eos_token_id=1, decoder_start_token_id=0, tie_word_embeddings=True, dropout_rate=0.0,
    )  # fmt: skip
    torch.manual_seed(4)
    encoder = T5EncoderModel(config).eval()
    silent = {PAD, UNK, *SMALL_WORDS, *silent}
    for i, word in enumerate(words):
        encoder.shared.weight[i] = 0 if word in silent else word_vector(forms.get(word, word), width)
    for name, parameter in encoder.named_parameters():
        if name.endswith((".o.weight", ".wo.weight")):
            parameter.zero_()
    return encoder


@torch.no_grad()
def quieten(encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, captions: torch.Tensor) -> None:
    """Lets articles pass for unknown words, which training shows how to pass over.

    They stand in no caption; whatever vectors lessons left them would be news to the denoiser.
    """
    table, index = encoder.get_input_embeddings().weight, tokenizer.get_vocab()
    seen = set(captions.unique().tolist())
    unseen = [index[word] for word in sorted(SMALL_WORDS) if index[word] not in seen]
    table.data[unseen] = table.data[index[UNK]].clone()


def word_a_caption(entry: Entry, style: str, strays: list[str], draw: random.Random) -> list[str]:
    """One wording: a name, perhaps in company of tags, of unknown words or of one known word that is beside the point.

    The last two are what lets "a glossy red apple" work: the model learns what to pass over. The style is always
    named, but for fluent, which is what a caption without a style means.
    """
    name = entry.label if not entry.names or draw.random() < 0.5 else draw.choice(entry.names)
    words = normalise(name).split()
    if entry.tags and draw.random() < 0.25:
        tags = draw.sample(entry.tags, min(len(entry.tags), draw.randint(1, 3)))
        words += [word for tag in tags for word in tag.split()]
    if draw.random() < 0.1:
        words.insert(draw.randint(0, len(words)), draw.choice(strays))
    if draw.random() < 0.4:
        for _ in range(draw.randint(1, 4)):
            words.insert(draw.randint(0, len(words)), UNK)
    if style != DEFAULT_STYLE or draw.random() < 0.4:
        words += [style, "style"]
    return words


def caption_table(
    pictures: list[tuple[Entry, str]], tokenizer: PreTrainedTokenizerFast, variants: int = 64, seed: int = 0
) -> torch.Tensor:
    """Token ids of many wordings of each picture, (pictures, variants, LENGTH). The first is the bare name."""
    draw = random.Random(seed)
    index = tokenizer.get_vocab()
    names = {word for entry, _ in pictures for text in (entry.label, *entry.names) for word in normalise(text).split()}
    strays = sorted({word for entry, _ in pictures for tag in entry.tags for word in tag.split()} - names) or [UNK]
    table = np.full((len(pictures), variants, LENGTH), index[PAD], dtype=np.int64)
    for i, (entry, style) in enumerate(pictures):
        plain = normalise(entry.label).split() + ([style, "style"] if style != DEFAULT_STYLE else [])
        for j in range(variants):
            words = word_a_caption(entry, style, strays, draw) if j else plain
            ids = [index.get(word, index[UNK]) for word in words[: LENGTH - 1]] + [index[EOS]]
            table[i, j, : len(ids)] = ids
    return torch.from_numpy(table)


def rows(captions: torch.Tensor) -> torch.Tensor:
    """Of a table (emoji, variants, length) the empty caption and then all others, (1 + emoji * variants, length)."""
    empty = torch.zeros_like(captions[:1, 0])
    empty[0, 0] = 1
    return torch.cat([empty, captions.flatten(0, 1)])
