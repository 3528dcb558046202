"""The prompt lists of the field, read from the files that their authors publish; and our own, which comes with toca.

The suffix tells the format, and the header the list:

- `.csv`: DrawBench (Saharia et al., arXiv 2205.11487), 200 prompts in the column `Prompts`, beside `Category`;
- `.tsv`: PartiPrompts (Yu et al., arXiv 2206.10789), 1632 prompts in the column `Prompt` of `PartiPrompts.tsv`;
- `.json`: captions of COCO (Chen et al., arXiv 1504.00325), such as `captions_val2014.json`;
- all others: plain text, one prompt a line; `toca-200`, our own list, is such a file.

The field's "COCO-30k" are 30,000 captions of val2014 drawn by chance, and there is no one draw that all use. DALL-Eval
(Cho et al., arXiv 2202.04053) draws 30,000 pictures, and of each one caption of its five. So of every picture one
caption is read here, 40,504 of val2014, always the same ones; of these a run chooses 30,000 with its seed
(`toca.eval.samples.prompts.choose`).

ImageNet needs no file. The classes of a class-conditional pipeline are its prompts, and every one gets the same number
of samples: 50 for the field's 50,000 pictures.

No hash of the published files is pinned here, for none was found that can be trusted: pin that of the file you got.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toca.eval.metrics.tags import file_digest
from toca.eval.samples.noise import noise_seed
from toca.pipelines.calibration import read_prompts
from toca.pipelines.prompt_lists import FOLDER

COLUMNS = ("Prompts", "Prompt")

NAMED = {"toca-200": "10935000bb38d4e467a6163fc406f84788921e459268a6e139eeae86ebc3663f"}
"""Lists that come with toca, with the SHA-256 of their files."""


def named_list(name: str, sha256: str | None = None, expected: int | None = None) -> list[str]:
    """The prompts of a list that comes with toca.

    Args:
        name (`str`): One of `NAMED`.
        sha256 (`str`, *optional*), expected (`int`, *optional*): As in `read_list`; the hash is always verified.

    Raises:
        ValueError: If there is no such list, or it is not what it must be.
        OSError: If its file cannot be read.
    """
    if name not in NAMED:
        raise ValueError(f"No list of prompts is called {name!r}: choose from {', '.join(NAMED)}, or name a file.")
    return read_list(FOLDER / f"{name}.txt", sha256 or NAMED[name], expected)


def read_list(path: Path, sha256: str | None = None, expected: int | None = None) -> list[str]:
    """The prompts of a file, in its order.

    Args:
        path (`Path`): A file of one of the formats above.
        sha256 (`str`, *optional*): Of the file that it must be, 64 hexadecimal digits.
        expected (`int`, *optional*): How many prompts it must hold.

    Returns:
        `list[str]`: Without blanks at their ends; of COCO in the order of its picture ids.

    Raises:
        ValueError: If it is another file, holds another number of prompts, or is no such list; it says why.
        OSError: If it cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    if sha256 is not None and (found := file_digest(path)) != sha256.lower():
        raise ValueError(f"{path} has the SHA-256 {found}, expected {sha256}: get the right file, or change the pin.")
    prompts = READERS.get(path.suffix.lower(), read_prompts)(path)
    if not prompts:
        raise ValueError(f"{path} holds no prompt: get the published file.")
    if expected is not None and len(prompts) != expected:
        raise ValueError(f"{path} holds {len(prompts)} prompts, expected {expected}: get the published file.")
    return prompts


def _of_csv(path: Path) -> list[str]:
    # Strict, for else a quotation mark that is never closed swallows all rows that follow.
    return _column(path, csv.DictReader(io.StringIO(_text(path)), strict=True))


def _of_tsv(path: Path) -> list[str]:
    # PartiPrompts.tsv quotes nothing, and one of its prompts begins with a quotation mark of its own.
    return _column(path, csv.DictReader(io.StringIO(_text(path)), delimiter="\t", quoting=csv.QUOTE_NONE))


def _column(path: Path, rows: csv.DictReader[str]) -> list[str]:
    """The column of prompts of a table with a header."""
    try:
        header = rows.fieldnames or ()
        found = [name for name in COLUMNS if name in header]
        if not found:
            raise ValueError(f"{path} has no column {' or '.join(COLUMNS)}, but {', '.join(header) or 'none'}.")
        return [_prompt(path, f"line {rows.line_num}", row[found[0]]) for row in rows]
    except csv.Error as error:
        raise ValueError(f"{path} is no table of prompts: {error}, after line {rows.line_num}.") from error


def _of_captions(path: Path) -> list[str]:
    """One caption of each picture, chosen by chance, the same on every machine and in any order of the file."""
    text = _text(path)
    try:
        entries = json.loads(text)["annotations"]
        captions = [(int(entry["image_id"]), int(entry["id"]), entry["caption"]) for entry in entries]
    except (ValueError, KeyError, TypeError) as error:
        wanted = "`annotations` with `image_id`, `id` and `caption`"
        raise ValueError(f"{path} is no file of COCO captions, which holds {wanted}: {error!r}.") from error
    # The last of a picture is the one that stays.
    captions.sort(key=lambda caption: (caption[0], noise_seed(0, caption[0], caption[1])))
    chosen = {image: (identity, caption) for image, identity, caption in captions}
    return [_prompt(path, f"caption {identity}", caption) for identity, caption in chosen.values()]


def _prompt(path: Path, place: str, text: Any) -> str:
    """A prompt on one line, without blanks at its ends."""
    prompt = " ".join(text.split()) if isinstance(text, str) else ""
    if not prompt:
        raise ValueError(f"{path} has an empty prompt, {place}: get the published file.")
    return prompt


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: get the published file.") from error


READERS: dict[str, Callable[[Path], list[str]]] = {".csv": _of_csv, ".tsv": _of_tsv, ".json": _of_captions}
