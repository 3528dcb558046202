"""Which weights a pipeline has, so that results of others are never taken: by its files, or by the hub's revision."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

from toca.eval.metrics.tags import file_digest
from toca.eval.store.store import Store
from toca.pipelines.borrowing import files_of
from toca.pipelines.loading import configs_of

STAGE = "weights"
LARGE = 2**20
"""Bytes. To hash less takes no longer than to look up what it was."""
SETTLED = 2 * 10**9
"""Nanoseconds after a change within which another may leave the file's time as it is, on some file systems."""


def weights_of(source: str, pipe: Any, store: Store) -> str:
    """What tells a pipeline's weights from all others.

    Args:
        source (`str`): Its folder or hub id.
        pipe: The pipeline, loaded from there.
        store (`Store`): Where hashes of large files are kept, so that each is hashed once.

    Returns:
        `str`: A hash of a folder's files, and of those that it borrows; the hub id and the commit, which name what the
            hub never changes.

    Raises:
        OSError: If a file cannot be read, or a hash not be kept.
    """
    folder = Path(source)
    return _of_folder(folder, store) if folder.is_dir() else f"{source}@{_revision(source, pipe)}"


def _revision(source: str, pipe: Any) -> str:
    """The commit of the snapshot that a pipeline was loaded from."""
    part = Path(pipe.transformer.config.get("_name_or_path") or "")
    return part.parent.name if part.parent.parent.name == "snapshots" else configs_of(source).name


def _of_folder(folder: Path, store: Store) -> str:
    digest = hashlib.sha256()
    for name, path in files_of(folder).items():
        digest.update(f"{name.as_posix()} {_of_file(path, store)} ".encode())
    return digest.hexdigest()


def _of_file(path: Path, store: Store) -> str:
    """SHA-256 of a file, by its path, size and time if it is large and was hashed before."""
    real, status = path.resolve(), path.stat()
    if status.st_size < LARGE:
        return file_digest(path)
    key = {"path": str(real), "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
    known = store.load(STAGE, path.name, key)
    if known is not None:
        return known["sha256"]
    begun, found = time.time_ns(), file_digest(path)
    if begun - status.st_mtime_ns > SETTLED:
        store.save(STAGE, path.name, key, {"sha256": found})
    return found
