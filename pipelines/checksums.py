"""Whether the files of a pipeline's folder are all there and whole: by their checksums, or by reading them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

NAME = "checksums.json"
_INDEX = "model_index.json"
_AGAIN = "save or download the pipeline again"


def write(folder: str | Path) -> Path:
    """Write `checksums.json`: the SHA-256 of model_index.json and of every file of the parts that it names.

    Args:
        folder (`str` or `Path`): a folder saved with `save_pretrained`.

    Returns:
        `Path`: the file.

    Raises:
        FileNotFoundError, ValueError: if model_index.json or a part is missing, or model_index.json is not readable.
    """
    folder = Path(folder)
    paths = [folder / _INDEX]
    for part in _parts(folder):
        paths += sorted(path for path in part.rglob("*") if path.is_file() and not path.name.startswith("."))
    sums = {path.relative_to(folder).as_posix(): _sha256(path) for path in paths}
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
        path = folder / name
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


def examine(folder: str | Path) -> None:
    """Look for what is missing or broken in a pipeline's folder that has no checksums.

    Raises:
        FileNotFoundError: for the first part, or file of a part, that is missing.
        ValueError: for the first JSON or safetensors file that cannot be read.
    """
    for part in _parts(Path(folder)):
        for path in sorted(part.glob("*.json")):
            _check_shards(part, read_json(path))
        missing = _missing({path.name for path in part.iterdir()})
        if missing is not None:
            raise FileNotFoundError(f"{part} lacks its {missing}: {_AGAIN}.")
        for path in sorted(part.glob("*.safetensors")):
            _check_weights(path)


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises `ValueError`, which names the file, if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} could not be read as JSON: {_AGAIN}.") from error


def _parts(folder: Path) -> list[Path]:
    """The folders that a pipeline's index names, all of which are there."""
    index = read_json(folder / _INDEX)
    if not isinstance(index, dict):
        raise ValueError(f"{folder / _INDEX} is not the index of a pipeline: {_AGAIN}.")
    parts = [folder / name for name, value in index.items() if _is_part(value)]
    missing = next((part for part in parts if not part.is_dir()), None)
    if missing is not None:
        raise FileNotFoundError(f"The folder {missing}, which {_INDEX} names, is missing: {_AGAIN}.")
    return parts


def _is_part(value: Any) -> bool:
    """Parts are written as library and class; both are null for those that a pipeline goes without."""
    return isinstance(value, list) and len(value) == 2 and all(isinstance(name, str) for name in value)


def _missing(names: set[str]) -> str | None:
    """What a part lacks, going by the names of its files. Models have weights and config.json, other parts neither."""
    weights = any(name.endswith((".safetensors", ".bin")) for name in names)
    if weights and "config.json" not in names:
        return "config.json"
    if "config.json" in names and not weights:
        return "weights, a .safetensors file"
    if names <= {"tokenizer_config.json", "special_tokens_map.json"}:
        return "tokenizer.json" if names else "files"
    return None


def _check_shards(part: Path, content: Any) -> None:
    """Where weights lie in several files, an index names them."""
    names = content.get("weight_map", {}).values() if isinstance(content, dict) else ()
    missing = next((part / name for name in sorted(set(names)) if not (part / name).is_file()), None)
    if missing is not None:
        raise FileNotFoundError(f"The file of weights {missing} is missing: {_AGAIN}.")


def _check_weights(path: Path) -> None:
    """Reads no more than the header, which says how long the file must be."""
    try:
        with safe_open(path, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged, cut off, or no safetensors file at all: {_AGAIN}.") from error
