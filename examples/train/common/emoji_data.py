"""Captioned emoji: from the npm packages to one archive of 64 x 64 pictures on white, each with its names."""

import hashlib
import io
import json
import re
import tarfile
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .wording import ALIASES, LEFT_OUT, SUBGROUPS

STYLES = {
    "fluent": "package/assets/{}.webp",
    "noto": "package/img/google/64/{}.png",
    "twemoji": "package/img/twitter/64/{}.png",
}
"""The styles, and where each package keeps its pictures."""
DEFAULT_STYLE = "fluent"  # what a caption without a style means
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


def read_picture(archive: tarfile.TarFile, place: str, hexcode: str, size: int) -> np.ndarray | None:
    """One picture on white at `size` x `size`, or nothing where the style does not draw that emoji."""
    code = hexcode.lower()
    for name in (code, f"{code}-fe0f", code.replace("-fe0f", "")):
        try:
            data = archive.extractfile(place.format(name)).read()
        except KeyError:
            continue
        picture = Image.open(io.BytesIO(data)).convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        flat = Image.alpha_composite(white, picture).convert("RGB")
        return np.asarray(flat.resize((size, size), Image.Resampling.LANCZOS))
    return None


def read_style(package: Path, place: str, records: list[dict], size: int) -> list[np.ndarray | None]:
    """Every record's picture in one style."""
    with tarfile.open(package) as archive:
        return [read_picture(archive, place, record["hexcode"], size) for record in records]


def prepare(packages: dict[str, Path], out: Path, size: int = 64) -> int:
    """Writes `out` and returns the number of pictures in it.

    The archive (.npz) holds `images`, uint8, (emoji, styles, size, size, 3); `present`, bool, (emoji, styles): not
    every style draws every emoji; and `entries`, the wording as JSON.

    Args:
        packages: the files of `labels` and of each style.
    """
    with tarfile.open(packages["labels"]) as archive:
        records = json.load(archive.extractfile("package/en/data.json"))
        messages = json.load(archive.extractfile("package/en/messages.json"))
    chosen = select(records, messages)
    columns = [read_style(packages[style], place, chosen, size) for style, place in STYLES.items()]
    rows = [row for row in zip(chosen, *columns, strict=True) if row[1] is not None]
    entries = name_everything([record for record, *_ in rows])
    unknown = set(ALIASES) - {entry.label for entry in entries}
    if unknown:
        raise ValueError(f"`ALIASES` names labels that are not in the selection: {sorted(unknown)}.")
    blank = np.full((size, size, 3), 255, np.uint8)
    images = np.stack([[blank if image is None else image for image in pictures] for _, *pictures in rows])
    present = np.array([[image is not None for image in pictures] for _, *pictures in rows])
    out.parent.mkdir(parents=True, exist_ok=True)
    wording = json.dumps([asdict(entry) for entry in entries])
    np.savez_compressed(out, images=images, present=present, entries=wording)
    return int(present.sum())


@dataclass
class Emoji:
    """The prepared data.

    Args:
        images (`np.ndarray`): uint8, (emoji, styles, size, size, 3), in the order of `STYLES`.
        present (`np.ndarray`): bool, (emoji, styles).
        entries (`list[Entry]`): the wording of each emoji.
    """

    images: np.ndarray
    present: np.ndarray
    entries: list[Entry]

    def only(self, labels: Iterable[str]) -> "Emoji":
        """The emoji with these labels, in this order."""
        place = {entry.label: i for i, entry in enumerate(self.entries)}
        missing = sorted(set(labels) - set(place))
        if missing:
            raise ValueError(f"The data has no emoji called {', '.join(missing)}.")
        kept = [place[label] for label in labels]
        return Emoji(self.images[kept], self.present[kept], [self.entries[i] for i in kept])

    def held_out(self) -> np.ndarray:
        """bool, (emoji, styles): pictures kept from training, though the emoji and the style are each learnt.

        One in twenty of the noto and twemoji drawings, by a hash of the name: the same whatever else is chosen.
        """

        def chance(label: str, style: str) -> bool:
            return int(hashlib.sha256(f"{label}/{style}".encode()).hexdigest(), 16) % 20 == 0

        drawn = np.array([[s != DEFAULT_STYLE and chance(e.label, s) for s in STYLES] for e in self.entries])
        both_others = self.present.all(1, keepdims=True) & ~(drawn.sum(1, keepdims=True) > 1)
        return drawn & both_others


def load(path: Path) -> Emoji:
    """What `prepare` wrote."""
    with np.load(path) as archive:
        entries = [Entry(**entry) for entry in json.loads(str(archive["entries"]))]
        return Emoji(archive["images"], archive["present"], entries)
