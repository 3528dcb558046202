"""`from_pretrained`, `save_pretrained` and `push_to_hub`, as huggingface_hub's mixin has them.

Its `ModelHubMixin` itself does not fit: it writes a configuration into every instance that is made, and these are
frozen; and it would be imported with toca.
"""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from ..files.reading import read_text
from ..files.writing import atomic_path
from .card import Card, card_text
from .places import told
from .sources import find_source, unreachable

Made = TypeVar("Made", bound="Pretrained")
README = "README.md"


class Pretrained(ABC):
    """What is saved as a folder with a card, pushed to the Hugging Face hub, and got back from either: YAML or JSON,
    and never a program or a pickle."""

    kind: ClassVar[str]
    """`"plan"`, `"front"`, `"calibration"` or `"router"`."""
    kinds: ClassVar[dict[str, type[Pretrained]]] = {}
    """All of them."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "kind" in vars(cls):
            Pretrained.kinds[cls.kind] = cls

    @abstractmethod
    def save(self, path: str | PathLike) -> None:
        """Write the file."""

    @classmethod
    @abstractmethod
    def load(cls: type[Made], path: str | PathLike) -> Made:
        """Read it."""

    @property
    @abstractmethod
    def _place(self) -> Path:
        """Where its file lies in a folder."""

    @abstractmethod
    def _card(self) -> Card:
        """What its card says."""

    @abstractmethod
    def _draw_saved(self, file: Path, picture: Path) -> None:
        """Draw what was saved in a file."""

    @classmethod
    @abstractmethod
    def _found_in(cls: type[Made], folder: Path, name: str, **which: Any) -> Made:
        """The one that lies in a folder, which somebody called by a name; `which` tells where there are several.

        Raises:
            ValueError: If there is none, or it is damaged.
        """

    @classmethod
    def from_pretrained(
        cls: type[Made],
        pretrained_model_name_or_path: str | PathLike,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | PathLike | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        **which: Any,
    ) -> Made:
        """The one that a name leads to.

        Args:
            pretrained_model_name_or_path (`str` or `PathLike`): The name of a model that comes with toca (`"emoji"`),
                a folder that `save_pretrained` wrote or that of a pipeline, or a repository of the hub
                (`"owner/name"`), in this order.
            force_download (`bool`, defaults to `False`): Whether a repository is fetched anew.
            token (`str` or `bool`, *optional*): Who asks; by default who has logged in.
            cache_dir (`str` or `PathLike`, *optional*): Where repositories are kept.
            local_files_only (`bool`, defaults to `False`): Whether the hub is not asked.
            revision (`str`, *optional*): A branch, tag or commit of a repository.
            which: What tells which one is meant where there are several: for a plan the bounds of `Front.at`
                (`speedup=2`), for a calibration its `method`.

        Raises:
            ValueError: If the name leads nowhere, there is none, or it is damaged.
            ConnectionError: If the hub cannot be reached.
        """
        folder = find_source(
            pretrained_model_name_or_path,
            force_download=force_download,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            revision=revision,
        )
        return cls._found_in(folder, str(pretrained_model_name_or_path), **which)

    @classmethod
    def _at_place(cls: type[Made], folder: Path, place: Path, name: str) -> Made:
        """The one at its place in a folder. Raises `ValueError` if none lies there."""
        if not (folder / place).is_file():
            raise ValueError(f"{name} holds no {cls.kind} ({place.as_posix()}), but {told(folder)}.")
        return cls.load(folder / place)

    def save_pretrained(
        self,
        save_directory: str | PathLike,
        *,
        repo_id: str | None = None,
        push_to_hub: bool = False,
        base_model: str | None = None,
        **push_to_hub_kwargs: Any,
    ) -> str | None:
        """Write it, its picture and a card into a folder, a pipeline's own or one that may be new.

        Args:
            save_directory (`str` or `PathLike`): The folder. A README.md in it that is no card of toca's stays.
            repo_id (`str`, *optional*): With `push_to_hub`, the repository; by default it is called as the folder is.
            push_to_hub (`bool`, defaults to `False`): Whether to push it as well.
            base_model (`str`, *optional*): The hub's name of the model that it is for, for the card; by default what
                its maker called the model.
            push_to_hub_kwargs: Of `push_to_hub`.

        Returns:
            `str` or `None`: What `push_to_hub` returns, if it pushes.

        Raises:
            OSError: If it cannot be written.
        """
        folder = Path(save_directory)
        there = read_text(folder / README) if (folder / README).is_file() else ""
        # Where a folder lies is nobody else's business.
        name = folder.resolve().name
        self._write(folder, name, base_model, there)
        if not push_to_hub:
            return None
        return self.push_to_hub(repo_id or name, base_model=base_model, **push_to_hub_kwargs)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str | None = None,
        private: bool | None = None,
        token: str | None = None,
        branch: str | None = None,
        create_pr: bool | None = None,
        base_model: str | None = None,
    ) -> str:
        """Push it, its picture and a card to a repository of the hub in one commit.

        Args:
            repo_id (`str`): The repository, made if it is not there. It may be a model's own: a README.md in it that
                is no card of toca's stays.
            commit_message (`str`, *optional*): Of the commit.
            private (`bool`, *optional*): Whether a repository that is made is private.
            token (`str`, *optional*): Who pushes; by default who has logged in.
            branch (`str`, *optional*): To which branch; `main` by default.
            create_pr (`bool`, *optional*): Whether it becomes a pull request.
            base_model (`str`, *optional*): As for `save_pretrained`.

        Returns:
            `str`: The address of the commit.

        Raises:
            PermissionError: If you may not write there.
            huggingface_hub.errors.HfHubHTTPError: If the hub refuses for another reason.
            ConnectionError: If it cannot be reached.
        """
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        api = HfApi(token=token)
        with tempfile.TemporaryDirectory() as folder:
            try:
                repository = api.create_repo(repo_id=repo_id, private=private, exist_ok=True).repo_id
                self._write(Path(folder), repository, base_model, _readme_of(api, repository, branch))
                commit = api.upload_folder(
                    repo_id=repository,
                    folder_path=folder,
                    commit_message=commit_message or f"A {self.kind} for toca",
                    revision=branch,
                    create_pr=create_pr,
                )
                return commit.commit_url
            except LocalEntryNotFoundError as error:  # the hub did not answer; it is a ValueError all the same
                raise unreachable(f"{repo_id} could not be pushed to the hub", error) from error
            except (HfHubHTTPError, ValueError) as error:
                if getattr(getattr(error, "response", None), "status_code", None) in (401, 403):
                    who = "the hub does not know who you are, or you may not write there"
                    raise PermissionError(f"{repo_id} is not pushed: {who} (`hf auth login`).") from error
                raise  # they say themselves what is wrong
            except Exception as error:  # of whatever library sends
                raise unreachable(f"{repo_id} could not be pushed to the hub", error) from error

    def _write(self, folder: Path, where: str, base_model: str | None, there: str) -> None:
        file = folder / self._place
        file.parent.mkdir(parents=True, exist_ok=True)
        self.save(file)
        picture: str | None = self._place.with_suffix(".png").as_posix()
        try:
            self._draw_saved(file, folder / str(picture))
        except ImportError:  # without what draws a card has no picture
            picture = None
        text = card_text(self._card(), where, base_model, picture, there)
        if text is not None:
            with atomic_path(folder / README) as temporary:
                temporary.write_text(text, encoding="utf-8")


def _readme_of(api: Any, repo_id: str, branch: str | None) -> str:
    """The README.md of a repository; empty where there is none."""
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RevisionNotFoundError

    try:
        return read_text(api.hf_hub_download(repo_id, README, revision=branch))
    except LocalEntryNotFoundError:
        raise
    except (EntryNotFoundError, RevisionNotFoundError):
        return ""
