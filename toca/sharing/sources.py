"""Where a name leads: to a model that comes with toca, a folder here, or a repository of the Hugging Face hub."""

from __future__ import annotations

import logging
import os
import re
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any

from ..checks import cleaned, shown
from ..files.reading import named
from .places import PATTERNS, shared_in

logger = logging.getLogger(__name__)

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
"""What the name of a repository looks like."""


def find_source(name: str | PathLike, **hub: Any) -> Path:
    """The folder that a name means: first a model that comes with toca, then a folder here, then a repository, of
    which those files are fetched that toca reads.

    Args:
        name (`str` or `PathLike`): The name; a path is no name, and means a folder.
        hub: Of `huggingface_hub.snapshot_download`, for a repository: `revision`, `token`, ...

    Raises:
        ValueError: If it leads nowhere, or the repository, or its revision, is not there.
        ConnectionError: If the hub cannot be reached, and the repository is not on this machine.
    """
    found = find_here(name)
    if found is not None:
        return found
    if isinstance(name, PathLike) or not is_hub_id(name):
        raise ValueError(f"There is no folder {named(name)}.")
    return fetch(name, **hub)


def find_here(name: str | PathLike) -> Path | None:
    """The folder that a name means without the hub; `None` for none.

    Raises:
        ValueError: If it is a file.
    """
    folder = folder_here(name)
    own = None if isinstance(name, PathLike) else own_model(name)
    if own is not None and folder is not None:
        tell_of_both(str(name), "a model that comes with toca", folder, own)
    if own is None and folder is None and os.path.isfile(os.path.expanduser(name)):
        raise ValueError(
            f"{named(name)} is a file, and a folder or the name of a repository is wanted: `load` of what it holds "
            "reads it, as `toca.Plan.load` a plan."
        )
    return own or folder


def own_model(name: str) -> Path | None:
    """The folder of a model that comes with toca, by the model's name."""
    folder = pipelines_folder() / name
    return folder if re.fullmatch(r"[\w-]+", name) and os.path.isfile(folder / "model_index.json") else None


def folder_here(name: str | PathLike) -> Path | None:
    """The folder that a name is the path of, if it is one."""
    path = os.path.expanduser(name)
    return Path(path) if os.path.isdir(path) else None


def tell_of_both(name: str, what: str, folder: Path, own: Path | None = None) -> None:
    """Say it where a name is also that of a folder in which something lies for toca, which is passed over."""
    if shared_in(folder) and (own is None or not os.path.samefile(folder, own)):
        there = cleaned(os.path.join(".", name))
        logger.warning("%s is %s, which is meant, and a folder here: write %s for that.", cleaned(name), what, there)


def is_hub_id(name: str) -> bool:
    """Whether a name is shaped like a repository's: `owner/name`, and no path."""
    return HUB_ID.fullmatch(name) is not None and not name.startswith((".", "~"))


def fetch(repo_id: str, **how: Any) -> Path:
    """The folder of this machine that holds what toca reads of a repository. Raises as `find_source`."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        return Path(snapshot_download(repo_id, allow_patterns=list(PATTERNS), **how))
    except RepositoryNotFoundError as error:
        why = "or none that may be read from here (`hf auth login` tells it who you are)"
        raise ValueError(f"The hub has no repository {repo_id}, {why}.") from error
    except RevisionNotFoundError as error:
        raise ValueError(f"The repository {repo_id} has no revision {shown(how.get('revision'))}.") from error
    except Exception as error:  # of whatever library fetches
        what = f"{repo_id} is no folder here, and could not be fetched from the hub"
        raise unreachable(what, error) from error


def unreachable(what: str, error: Exception) -> ConnectionError:
    """The error for a hub that does not answer, or answers something odd, in a sentence that begins with `what`."""
    cause = error.__cause__ or error
    reason = next(iter(str(cause).splitlines()), "").rstrip(".") or type(cause).__name__
    return ConnectionError(f"{cleaned(what)}: {cleaned(reason)}.")


def pipelines_folder() -> Path:
    """The folder of `toca.pipelines`, where the models lie that come with toca; it need not be imported for it."""
    spec = find_spec("toca.pipelines")
    places = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(places))) if places else Path()
