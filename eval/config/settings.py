"""What a run measures, read strictly: from a YAML file, a preset's name, flags, or all three.

`eval/configs/default.yaml` is such a file and says how. Every field of `Settings` may stand at the top, where it holds
for all pipelines, and beside a pipeline's name in `models`, where it holds for that one. Flags win over both.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

import toca
from toca.checks import cleaned, shown
from toca.eval.config.scores import ScoreSettings
from toca.eval.peers import PREFIX
from toca.eval.store.naming import check_name, slug
from toca.eval.variants import Lineup, every_method, every_peer, expand, parse_variant
from toca.files.reading import named, parse_yaml, read_text
from toca.methods.presets import presets as method_presets
from toca.methods.tuned import Tuned
from toca.pipelines.config import MOST_STEPS
from toca.pipelines.request import Request

PRESETS = Path(__file__).parents[1] / "configs"
LONGEST_PATH = 255
MOST_THREADS = 1024  # beyond what a system can start, the process ends without a word
# True, "3" and 3.0 are no numbers of anything.
Whole = Annotated[int, Field(strict=True)]
Real = Annotated[float, Field(strict=True)]
AtLeastOne = Annotated[Whole, Field(ge=1, le=1_000_000)]  # beyond, nothing ends and memory does


class Strict(BaseModel):
    """Nothing unknown is passed over, nothing changes after it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MethodEntry(Strict):
    """A method, a preset, a peer or the file of a plan, with its settings.

    Args:
        method (`str`): Its name.
        label (`str`, *optional*): What its rows are called; the name unless told.
        set (`dict`): Fields with their values.
        grid (`dict`): Fields with lists of values; every combination is a row.
    """

    method: str
    label: str | None = None
    set: dict[str, Any] = {}
    grid: dict[str, list[Any]] = {}

    def lineup(self) -> Lineup:
        """Its variants."""
        return expand(self.method, self.grid, self.set, self.label)


class Settings(Strict):
    """What is measured of one pipeline: the keys of a configuration file, a field each.

    Args:
        methods (`tuple`, *optional*): Entries, or text such as `"fora:interval=2,3"`; all methods as they are unless
            told, and none for an empty list.
        peers (`bool`): Whether every peer that is installed and that `methods` does not name runs too, as it is.
        unseen_by (`tuple[str, ...]`): Tuned plans such as `"tuned"`, which are not run for it: no prompt is taken that
            a search for them saw. Those of `methods` need not be named.
        prompts (`int`, *optional*): How many prompts, chosen by chance; all unless told.
        prompts_file (`str`, *optional*): A list of prompts as its authors publish it, or "toca-200"; the pipeline's
            own prompts, or its classes, unless told.
        prompts_sha256 (`str`, *optional*), prompts_expected (`int`, *optional*): What that file must be and hold.
        samples (`int`): Samples of each prompt, from different noise.
        float_pictures (`bool`): Whether to keep pictures in float32 beside the 8 bits of their files, and to compute
            fidelity of these: 12 bytes a pixel and frame on the disk, and no end of the PSNR near 59 dB.
        seed (`int`): Of prompts and noise.
        batch_size (`int`): Samples at a time.
        bench_batch_size (`int`, *optional*): The same where times are taken; as many unless told.
        repeats, warmups (`int`): Timed rounds, and rounds before them.
        fewer_steps (`tuple[int]`, *optional*): Steps of the runs without a cache that methods are matched with; every
            number from a fifth of the full number up, unless told.
        steps, guidance_scale, height, width, num_frames, dtype, device: As `toca generate` has them.
        pickled_weights (`bool`): As `toca generate` has it.
        threads (`int`, *optional*): CPU threads of torch.
        speedups (`tuple[float]`): Where methods are put side by side in the report.
        scores (`ScoreSettings`): What is computed of the pictures.
    """

    methods: tuple[MethodEntry | str, ...] | None = None
    peers: bool = True
    unseen_by: tuple[str, ...] = ()
    prompts: AtLeastOne | None = None
    prompts_file: str | None = None
    prompts_sha256: str | None = None
    prompts_expected: AtLeastOne | None = None
    samples: AtLeastOne = 1
    float_pictures: bool = True
    seed: Whole = 0
    batch_size: AtLeastOne = 8
    bench_batch_size: AtLeastOne | None = None
    repeats: AtLeastOne = 10
    warmups: AtLeastOne = 3
    fewer_steps: tuple[Annotated[Whole, Field(ge=2)], ...] | None = None
    steps: Annotated[Whole, Field(ge=2, le=MOST_STEPS)] | None = None
    guidance_scale: Real | None = None
    height: AtLeastOne | None = None
    width: AtLeastOne | None = None
    num_frames: AtLeastOne | None = None
    dtype: str | None = None
    device: str | None = None
    pickled_weights: bool = False
    threads: Annotated[Whole, Field(ge=1, le=MOST_THREADS)] | None = None
    speedups: tuple[Annotated[Real, Field(gt=1)], ...] = (1.5, 2.0, 2.5, 3.0)
    scores: ScoreSettings = ScoreSettings()

    @model_validator(mode="after")
    def _has_its_list(self) -> Settings:
        if self.prompts_expected and not self.prompts_file:
            raise ValueError(f"it is about a published list of {self.prompts_expected} prompts: name its file with "
                             "--prompts-file")  # fmt: skip
        return self

    def request(self) -> Request:
        """How the pipeline is loaded and called."""
        names = ("steps", "guidance_scale", "height", "width", "num_frames", "dtype", "device",
                 "pickled_weights")  # fmt: skip
        return Request(**{name: getattr(self, name) for name in names})

    def lineup(self) -> Lineup:
        """The methods and the peers.

        Raises:
            ValueError: If a method or a setting is unknown, a label cannot be one, or two rows have one name.
        """
        entries = self.methods or ()
        lineup = every_method() if self.methods is None else Lineup()
        for entry in entries:
            lineup.extend(parse_variant(entry) if isinstance(entry, str) else entry.lineup())
        named = {variant.group for variant in lineup.variants} | {_peer(entry) for entry in entries}
        if self.peers:
            for variant in every_peer().variants:
                if variant.group not in named:
                    lineup.add(variant)
        return lineup

    def searched(self, model: str) -> Lineup:
        """The plans of `unseen_by`, with the fronts that lie beside a model's weights.

        Raises:
            ValueError: If one is no tuned plan, or has no front.
        """
        lineup = Lineup()
        for text in self.unseen_by:
            lineup.extend(parse_variant(text))
        found = lineup.for_model(model)
        for variant in found.variants:
            if not isinstance(variant.method, Tuned) or variant.method.front is None:
                name = shown(variant.name)
                raise ValueError(f"`unseen_by`: {name} is no plan that a search found for {shown(model)}.")
        return found


def _peer(entry: MethodEntry | str) -> str:
    """The peer that an entry names, whatever its rows are called."""
    text = entry if isinstance(entry, str) else entry.method
    return PREFIX + text.removeprefix(PREFIX).partition(":")[0] if text.startswith(PREFIX) else ""


def read_run(source: str | Path | None, models: list[str], flags: Mapping[str, Any]) -> dict[str, Settings]:
    """The settings of each pipeline of a run.

    Args:
        source (`str` or `Path`, *optional*): A YAML file, or the name of a preset.
        models (`list[str]`): Names, folders or hub ids; those of the file if there are none.
        flags (`Mapping[str, Any]`): Fields of `Settings`, and of its `scores` as `"scores.clip"`, given by hand.

    Returns:
        `dict[str, Settings]`: By the pipeline's name, in order.

    Raises:
        ValueError: If the file is no such file, a field is unknown or has no such value, or no pipeline is named; it
            says where.
        OSError: If the file cannot be read.
    """
    path = None if source is None else find_config(str(source))
    data = {} if path is None else _read(path)
    where = "The flags" if path is None else f"{path}"
    own = _by_model(data.pop("models", []), where)
    chosen = models or list(own)
    if not chosen:
        raise ValueError(f"{where} name no pipeline: add --model NAME, a folder or a hub id.")
    _check_models(chosen)
    return {model: _settings(data, own.get(model, {}), flags, f"{where}, {model}") for model in chosen}


def _check_models(models: Sequence[str]) -> None:
    """Raises `ValueError` for a name that cannot be part of a file's, and for two whose files would be the same."""
    of_slug: dict[str, str] = {}
    for model in models:
        check_name("The pipeline", model, "give its folder another, or a link to it that has")
        if not slug(model).strip("."):
            raise ValueError(f"The pipeline {shown(model)} is named by dots, and files cannot be: name its folder.")
        other = of_slug.setdefault(slug(model), model)
        if other != model:
            raise ValueError(f"The pipelines {shown(other)} and {shown(model)} would write the same files.")


def presets() -> list[str]:
    """The names of the presets."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def find_config(text: str) -> Path:
    """The file of that name, or the preset's.

    Raises:
        ValueError: If there is neither.
    """
    path = Path(text)
    if path.is_file():
        return path
    if text in presets():
        return PRESETS / f"{text}.yaml"
    raise ValueError(f"{shown(text)} is neither a file nor a preset: the presets are {', '.join(presets())}.")


def _read(path: Path) -> dict[str, Any]:
    try:
        data = parse_yaml(read_text(path))
    except ValueError as error:
        raise ValueError(f"{named(path)} is no YAML: {cleaned(str(error), 400)}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path} holds no settings: it is a list of `key: value`, as {PRESETS / 'smoke.yaml'} is.")
    return _beside(path.parent, data, {*method_presets(), *toca.methods()})


def _beside(folder: Path, data: Any, names: Set[str]) -> Any:
    """Files named relative to the configuration, as paths from everywhere; all else as it is. What is among `names` is
    no file, whatever lies there."""
    if isinstance(data, dict):
        return {key: _beside(folder, value, names) for key, value in data.items()}
    if isinstance(data, list):
        return [_beside(folder, value, names) for value in data]
    if not isinstance(data, str) or len(data) > LONGEST_PATH or data in names:
        return data
    kind, colon, name = data.rpartition(":")  # as in `inception:FILE`
    return f"{kind}{colon}{(folder / name).resolve()}" if name and (folder / name).is_file() else data


def _by_model(entries: Any, where: str) -> dict[str, dict[str, Any]]:
    """What stands beside each name in `models`, which are names or mappings with a `model`."""
    if not isinstance(entries, list):
        raise ValueError(f"{where}: `models` is a list of names, got {shown(entries)}.")
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        own = {"model": entry} if isinstance(entry, str) else dict(entry) if isinstance(entry, dict) else {}
        name = own.pop("model", None)
        if not isinstance(name, str):
            raise ValueError(f"{where}: an entry of `models` is a name, or has a `model`, got {shown(entry)}.")
        if name in found:
            raise ValueError(f"{where}: {shown(name)} stands twice in `models`, and both would write the same files.")
        found[name] = own
    return found


def _settings(common: dict[str, Any], own: dict[str, Any], flags: Mapping[str, Any], where: str) -> Settings:
    data = _merged(common, own)
    for key, value in flags.items():
        part, _, rest = key.partition(".")
        data = _merged(data, {part: {rest: value}} if rest else {key: value})
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        raise ValueError(f"{where}: {_said(error)}") from error


def _merged(common: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Fields of `own` replace those of `common`; `scores` is merged field by field."""
    merged = common | own
    if isinstance(common.get("scores"), dict) and isinstance(own.get("scores"), dict):
        merged["scores"] = common["scores"] | own["scores"]
    return merged


def _said(error: ValidationError) -> str:
    """The first thing that is wrong, in one sentence."""
    first = error.errors()[0]
    # What tells the forms of an entry apart is no part of the place.
    place = ".".join(str(part) for part in first["loc"] if part not in ("MethodEntry", "str"))
    if first["type"] == "extra_forbidden":
        close = difflib.get_close_matches(place.rpartition(".")[2], _fields(place), 1)
        return f"there is no `{place}`{f'; did you mean `{close[0]}`' if close else ''}."
    message = first["msg"].removeprefix("Value error, ")
    return f"`{place}`: {message}, got {shown(first['input'])}." if place else f"{message}."


def _fields(place: str) -> list[str]:
    parts: dict[str, type[BaseModel]] = {"scores": ScoreSettings, "methods": MethodEntry}
    model = parts.get(place.partition(".")[0], Settings)
    return [*(Settings if "." not in place else model).model_fields, *(["models"] if "." not in place else [])]
