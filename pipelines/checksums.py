"""Whether the files of a pipeline's folder are all there and whole: by their checksums, or by reading them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from toca.files.reading import named, read_bytes
from toca.pipelines.borrowing import files_of, place_of, weights_in
from toca.pipelines.model_code import AGAIN as _AGAIN
from toca.pipelines.model_code import INDEX as _INDEX
from toca.pipelines.model_code import (
    check_config,
    check_files,
    check_index,
    check_needed,
    check_numbers,
    is_model,
    is_part,
)

NAME = "checksums.json"
LARGEST_JSON = 128 * 2**20
"""Bytes; the largest tokenizers of the hub take 40 million."""


def write(folder: str | Path) -> Path:
    """Write `checksums.json`: the SHA-256 of model_index.json and of every file of the parts that it names, borrowed
    ones too.

    Args:
        folder (`str` or `Path`): a folder saved with `save_pretrained`.

    Returns:
        `Path`: the file.

    Raises:
        FileNotFoundError, ValueError: if model_index.json or a part is missing, or model_index.json is not readable.
    """
    folder = Path(folder)
    parts = {part.name for part in _parts(folder)}
    files = {name: path for name, path in files_of(folder).items() if name.parts[0] in parts and name.name[0] != "."}
    sums = {_INDEX: _sha256(folder / _INDEX)} | {name.as_posix(): _sha256(path) for name, path in files.items()}
    target = folder / NAME
    target.write_text(json.dumps(sums, indent=2) + "\n", encoding="utf-8")
    return target


def check(folder: str | Path) -> None:
    """Compare the files of an embedded model with its `checksums.json`.

    Raises:
        FileNotFoundError: for the first file that is missing.
        ValueError: for the first file that is damaged.
    """
    folder = Path(folder)
    for name, expected in _sums(folder / NAME).items():
        path = place_of(folder, name)
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: {restore(path)}.")
        if _sha256(path) != expected:
            raise ValueError(f"{path} is damaged, or not the one that {NAME} was written for: {restore(path)}.")


def restore(path: Path) -> str:
    """How to get a file of an embedded model back."""
    return f"reinstall toca, or run `git checkout -- {path}` in a clone"


def _sums(path: Path) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {restore(path)}.") from error


def _sha256(path: Path) -> str:
    data = path.read_bytes()
    # Git may write texts with the line ends of the system it is on.
    return hashlib.sha256(data.replace(b"\r\n", b"\n") if path.suffix == ".json" else data).hexdigest()


def examine(folder: str | Path, weights: bool = True, pickles: bool = False) -> None:
    """Look for what is missing, broken or unsafe in a pipeline's folder, before any library reads it.

    Args:
        folder (`str` or `Path`): the folder.
        weights (`bool`): whether the weights are looked at too.
        pickles (`bool`): whether weights may be pickles where there are no others.

    Raises:
        FileNotFoundError: for the first part, or file of a part, that is missing.
        ValueError: for the first JSON or safetensors file that cannot be read, and for what could run code.
    """
    folder = Path(folder)
    check_files(folder)
    models = examine_index(folder)
    for part in _parts(folder):
        for path in sorted(part.glob("*.json")):
            content = examine_config(path)
            if weights:
                _check_shards(part, content)
        is_model = part.name in models
        missing = _missing({path.name for path in (*part.iterdir(), *weights_in(part))}, is_model, weights)
        if missing is not None:
            raise FileNotFoundError(f"{named(part)} lacks its {missing}: {_AGAIN}.")
        if weights and not pickles:
            _check_for_pickles(part)
        _check_weights(part)


def examine_index(folder: Path) -> set[str]:
    """Look at the index of a pipeline's folder, and return which parts are models. Raises as `examine`."""
    index, where = read_json(folder / _INDEX), folder / _INDEX
    check_index(index, where)
    check_needed(index, where)
    return {name for name, value in index.items() if is_part(value) and is_model(value)}


def examine_config(path: Path) -> dict[str, Any]:
    """The data of a JSON file of one part. Raises `ValueError` as `examine`."""
    content = read_json(path)
    check_config(content, path)
    if path.name in ("config.json", "scheduler_config.json"):
        check_numbers(content, path)
    return content


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises `ValueError`, which names the file, if it cannot be read."""
    try:
        # Not within the bounds of our own files: tokenizers have more entries, and numbers beyond 64 bits.
        # Without a byte order mark: the libraries that read it next refuse one.
        return json.loads(read_bytes(path, LARGEST_JSON).decode("utf-8"))
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{named(path)} could not be read as JSON: {_AGAIN}.") from error


def _parts(folder: Path) -> list[Path]:
    """The folders that a pipeline's index names, all of which are there."""
    index = read_json(folder / _INDEX)
    parts = [folder / name for name, value in index.items() if is_part(value)]
    missing = next((part for part in parts if not part.is_dir()), None)
    if missing is not None:
        raise FileNotFoundError(f"The folder {missing}, which {_INDEX} names, is missing: {_AGAIN}.")
    return parts


def _missing(names: set[str], is_model: bool, weights: bool) -> str | None:
    """What a part lacks, going by the names of its files. Models have weights and config.json, other parts neither."""
    found = any(name.endswith((".safetensors", ".bin")) for name in names)
    if (found or is_model) and "config.json" not in names:
        return "config.json"
    if weights and "config.json" in names and not found:
        return "weights, a .safetensors file"
    if names <= {"tokenizer_config.json", "special_tokens_map.json"}:
        return "tokenizer.json" if names else "files"
    return None


def _check_shards(part: Path, content: dict[str, Any]) -> None:
    """Where weights lie in several files, an index names them."""
    shards = content.get("weight_map")
    if shards is None:
        return
    if not isinstance(shards, dict) or not all(_is_file_name(name) for name in shards.values()):
        raise ValueError(f"{named(part)} has an index of weights that names no files of this folder: {_AGAIN}.")
    missing = next((part / name for name in sorted(set(shards.values())) if not (part / name).is_file()), None)
    if missing is not None:
        raise FileNotFoundError(f"The file of weights {named(missing)} is missing: {_AGAIN}.")


def _is_file_name(name: Any) -> bool:
    return isinstance(name, str) and Path(name).name == name


def _check_for_pickles(part: Path) -> None:
    if not weights_in(part) and any(part.glob("*.bin")):
        raise ValueError(
            f"{named(part)} has its weights only as a pickle, and a pickle can run code: save the pipeline again with "
            "safe_serialization, or, if you trust where it is from, say --pickled-weights."
        )


def _check_weights(part: Path) -> None:
    """Reads no more than the headers, which say how long the files must be."""
    for path in weights_in(part):
        try:
            with safe_open(path, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{named(path)} is damaged, cut off, or no safetensors file at all: {_AGAIN}.") from error


def tensor_shapes(part: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of all tensors in the safetensors of one part, by their names; only headers are read."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in weights_in(part):
        with safe_open(path, framework="pt") as file:
            shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    return shapes
