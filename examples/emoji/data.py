"""From the two npm tarballs to one small archive: 64 x 64 pictures on white, each with the names people give it."""

import io
import json
import re
import tarfile
import unicodedata
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .wording import ALIASES, LEFT_OUT, SUBGROUPS

SMILEYS = 0  # emojibase's group; its tags are chat slang, of no use as names
SMALL_WORDS = frozenset("a an the of with in on and at to for s".split())


@dataclass
class Entry:
    """One picture's wording.

    Args:
        label (`str`): the main caption, lower case.
        names (`list[str]`): other names that mean this picture and no other.
        tags (`list[str]`): loosely related words, for company only.
    """

    label: str
    names: list[str]
    tags: list[str]


def normalise(text: str) -> str:
    """What the tokenizer sees of a text: lower-case words and digits, accents and apostrophes removed."""
    plain = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()
    return " ".join(re.sub(r"[^a-z0-9]+", " ", plain.replace("'", "")).split())


def content(text: str) -> frozenset[str]:
    """The words of a text that carry meaning; a caption is a set of them, for the text encoder ignores order."""
    return frozenset(normalise(text).split()) - SMALL_WORDS


def select(records: list[dict], messages: dict) -> list[dict]:
    """The emoji worth drawing by name, in the order of the data set."""
    subgroups = {group["order"]: group["key"] for group in messages["subgroups"]}
    left_out = re.compile("|".join(LEFT_OUT))
    chosen = []
    for record in records:
        label = record["label"].replace("\u2019", "'").lower()
        wanted = subgroups.get(record.get("subgroup")) in SUBGROUPS
        if wanted and not left_out.search(label):
            chosen.append({**record, "label": label})
    return chosen


def short_names(label: str, word_counts: Counter) -> list[str]:
    """The first or last word of a longer label, where no other label has that word."""
    words = [word for word in normalise(label).split() if word not in SMALL_WORDS]
    if len(words) < 2:
        return []
    return [word for word in (words[-1], words[0]) if word_counts[word] == 1 and len(word) > 2 and word.isalpha()]


def company(record: dict, bags: frozenset[frozenset[str]]) -> list[str]:
    """The tags that may stand beside the label: none that would turn the caption into another picture's name."""
    if record["group"] == SMILEYS:
        return []
    own = content(record["label"])
    others = [bag for bag in bags if not bag <= own]
    tags = {normalise(tag) for tag in record.get("tags", [])}
    return sorted(t for t in tags if content(t) - own and not any(bag <= own | content(t) for bag in others))


def name_everything(records: list[dict]) -> list[Entry]:
    """Captions for every record. No name is given twice: a label beats an alias, an alias a short name or a tag."""
    labels = [record["label"] for record in records]
    word_counts = Counter(word for label in labels for word in content(label))
    tag_counts = Counter(tag for record in records for tag in set(record.get("tags", [])))
    taken = {content(label) for label in labels} | {content(name) for names in ALIASES.values() for name in names}
    reserved = frozenset(taken)
    short_counts = Counter(name for label in labels for name in short_names(label, word_counts))
    entries = []
    for record in records:
        label = record["label"]
        tags = [] if record["group"] == SMILEYS else record.get("tags", [])
        lone_tags = [tag for tag in tags if tag_counts[tag] == 1 and len(tag) > 3]
        derived = [name for name in short_names(label, word_counts) if short_counts[name] == 1] + lone_tags
        names = list(ALIASES.get(label, []))
        for name in derived:
            bag = content(name)
            if bag and bag not in taken:
                taken.add(bag)
                names.append(normalise(name))
        entries.append(Entry(label, names, company(record, reserved)))
    return entries


def read_picture(archive: tarfile.TarFile, hexcode: str, size: int) -> np.ndarray | None:
    """One picture on white at `size` x `size`, or nothing where the style does not draw that emoji."""
    code = hexcode.lower()
    for name in (code, f"{code}-fe0f", code.replace("-fe0f", "")):
        try:
            data = archive.extractfile(f"package/assets/{name}.webp").read()
        except KeyError:
            continue
        picture = Image.open(io.BytesIO(data)).convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        flat = Image.alpha_composite(white, picture).convert("RGB")
        return np.asarray(flat.resize((size, size), Image.Resampling.LANCZOS))
    return None


def prepare(pictures_tgz: Path, labels_tgz: Path, out: Path, size: int = 64) -> int:
    """Writes `out` (.npz: `images` as uint8, `entries` as JSON) and returns the number of pictures in it."""
    with tarfile.open(labels_tgz) as archive:
        records = json.load(archive.extractfile("package/en/data.json"))
        messages = json.load(archive.extractfile("package/en/messages.json"))
    kept, images = [], []
    with tarfile.open(pictures_tgz) as archive:
        for record in select(records, messages):
            image = read_picture(archive, record["hexcode"], size)
            if image is not None:
                kept.append(record)
                images.append(image)
    entries = name_everything(kept)
    unknown = set(ALIASES) - {entry.label for entry in entries}
    if unknown:
        raise ValueError(f"`ALIASES` names labels that are not in the selection: {sorted(unknown)}.")
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, images=np.stack(images), entries=json.dumps([asdict(entry) for entry in entries]))
    return len(images)


def load(path: Path, limit: int | None = None) -> tuple[np.ndarray, list[Entry]]:
    """The pictures and their wording; `limit` keeps an even spread of them, for trials."""
    archive = np.load(path)
    images, entries = archive["images"], [Entry(**entry) for entry in json.loads(str(archive["entries"]))]
    if limit is None or limit >= len(entries):
        return images, entries
    keep = np.linspace(0, len(entries) - 1, limit).astype(int)
    return images[keep], [entries[i] for i in keep]
