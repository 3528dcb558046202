"""Where the files of a pipeline's folder lie: an embedded model may borrow the weights of a part from another one, so
that what several of them have is stored once.

Who borrows what of whom stands in the registry, and nowhere else: no folder can name files outside of itself.
"""

from __future__ import annotations

from pathlib import Path

from toca.pipelines.registry import embedded_in, find_model

_WEIGHTS = ".safetensors"


def lenders(folder: Path) -> dict[str, Path]:
    """The folders of other models' parts that an embedded model may borrow from, by the names of its own parts."""
    entry = embedded_in(folder)
    found = {part: find_model(name) for part, name in (entry.borrows if entry else {}).items()}
    return {part: Path(lender.source) / part for part, lender in found.items() if lender is not None}


def borrowed(folder: Path) -> dict[str, Path]:
    """Those of the same that it does borrow from: the parts have no weights of their own."""
    return {part: lender for part, lender in lenders(folder).items() if not _own_weights(folder / part)}


def weights_in(part: Path) -> list[Path]:
    """The safetensors files of one part of a pipeline's folder, its own or those that it borrows."""
    return _own_weights(borrowed(part.parent).get(part.name, part))


def place_of(folder: Path, name: str) -> Path:
    """Where a file lies, or should lie, that has this path in a pipeline's folder."""
    own = folder / name
    return borrowed(folder).get(own.parent.name, own.parent) / own.name if own.suffix == _WEIGHTS else own


def files_of(folder: Path) -> dict[Path, Path]:
    """Every file of a pipeline's folder, and what it borrows, by their sorted paths in the folder."""
    files = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    lent = {Path(part, path.name): path for part in borrowed(folder) for path in weights_in(folder / part)}
    return dict(sorted((files | lent).items()))


def _own_weights(part: Path) -> list[Path]:
    return sorted(part.glob(f"*{_WEIGHTS}"))
