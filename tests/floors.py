"""The floors of the house as the imports of its files tell them: what `test_floors.py` checks and docs/ draws."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

# The folders of the checkout, and what they are installed as.
PACKAGES = {"toca": "toca", "pipelines": "toca.pipelines", "eval": "toca.eval"}

# From the ground up. An import points to a floor below, or stays on its own.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("toca/checks.py", "toca/files", "toca/moved.py", "toca/registry.py", "toca/sharing"),
    ("toca/kernels",),
    ("toca/models",),
    ("toca/axes",),
    ("toca/plan",),
    ("toca/hooks",),
    ("toca/calibration",),
    ("toca/memory",),
    ("toca/methods",),
    ("toca/engine",),
    ("toca/api.py", "toca/family_check.py", "toca/tuning"),
    ("toca/public.py",),
    ("toca/__init__.py",),
    ("pipelines",),
    ("eval",),
)

# Arrows that no floor may draw, even downwards, and why.
_PLAN_IS_DATA = "a plan is data that can be drawn, saved and costed with nothing running"
_MEMORY_IS_LED = "memory keeps what it is handed, and does not know who asks"
_HOOKS_KNOW_A_HANDLE = "a hook knows of a decision only what its handle carries"
_METHODS_SAY_WHAT = "a method says what to do, and not how it is done"
_NUMBERS_FIRST = "what is found does not depend on how it is shown"
FORBIDDEN: dict[tuple[str, str], str] = {
    ("toca/plan", "toca/methods"): _PLAN_IS_DATA,
    ("toca/plan", "toca/memory"): _PLAN_IS_DATA,
    ("toca/plan", "toca/hooks"): _PLAN_IS_DATA,
    ("toca/plan", "toca/engine"): _PLAN_IS_DATA,
    ("toca/axes", "toca/plan"): "a value on an axis is part of a plan, and stands without one",
    ("toca/memory", "toca/hooks"): _MEMORY_IS_LED,
    ("toca/memory", "toca/engine"): _MEMORY_IS_LED,
    ("toca/hooks", "toca/plan"): _HOOKS_KNOW_A_HANDLE,
    ("toca/hooks", "toca/engine"): _HOOKS_KNOW_A_HANDLE,
    ("toca/methods", "toca/memory"): _METHODS_SAY_WHAT,
    ("toca/methods", "toca/hooks"): _METHODS_SAY_WHAT,
    ("toca/methods", "toca/engine"): _METHODS_SAY_WHAT,
    ("eval/scoring", "eval/report"): _NUMBERS_FIRST,
    ("eval/samples", "eval/report"): _NUMBERS_FIRST,
    ("eval/samples", "eval/scoring"): "samples are made before anybody judges them",
    ("pipelines", "eval"): "a command joins the command line by the entry-point group `toca.commands`",
    ("eval", "toca/engine"): "whoever watches a cache uses `toca.hooks.watch`, and not the engine's inside",
}


@dataclass(frozen=True, order=True)
class Arrow:
    """One file imports another, both by their paths in the checkout."""

    source: str
    target: str
    line: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line} imports {self.target}"


def files_of(root: Path) -> dict[str, str]:
    """The paths of all files, by the dotted names of their modules."""
    found = {}
    for folder, package in PACKAGES.items():
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root / folder).with_suffix("").parts
            module = ".".join((package, *parts)).removesuffix(".__init__")
            found[module] = path.relative_to(root).as_posix()
    return found


def arrows(root: Path = ROOT) -> list[Arrow]:
    """All imports of one file of the house by another: at the top, in functions, for types only, and by name."""
    files = files_of(root)
    found = set()
    for module, path in files.items():
        package = module if path.endswith("/__init__.py") else module.rpartition(".")[0]
        for node in ast.walk(ast.parse((root / path).read_text(), path)):
            for target in _targets(node, package, files):
                if files[target] != path:
                    found.add(Arrow(path, files[target], node.lineno))  # type: ignore[attr-defined]
    return sorted(found)


def _targets(node: ast.AST, package: str, files: Mapping[str, str]) -> Iterator[str]:
    """The modules of the house that a node of a syntax tree imports."""
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        base = _absolute(node, package)
        # `from a import b` is the file a/b.py where there is one, and else the file of a.
        names = [name if (name := f"{base}.{alias.name}") in files else base for alias in node.names]
    elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
        first = node.args[0] if node.args else None
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            names = [first.value]
    yield from (name for name in names if name in files)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """What `from ..x import` of a file in `package` names, dotted and whole."""
    if not node.level:
        return str(node.module)
    parts = package.split(".")
    return ".".join(parts[: len(parts) - node.level + 1] + ([node.module] if node.module else []))


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def eval_rooms(root: Path = ROOT) -> tuple[str, ...]:
    """The rooms of the evaluation from the ground up, as the docstring of its package lists them; files that rooms
    stand upon are listed among them."""
    text = ast.get_docstring(ast.parse((root / "eval" / "__init__.py").read_text())) or ""
    return tuple(re.findall(r"\w+(?= ·)|(?<=· )\w+", text))


def room_of(path: str) -> str | None:
    """The room that a file stands in, as `FLOORS` writes it, or a folder of eval/; `None` for none."""
    if path.startswith("eval/"):
        return "/".join(path.split("/")[:2]) if path.count("/") > 1 else "eval"
    rooms = (room for floor in FLOORS for room in floor)
    return next((room for room in rooms if path == room or path.startswith(f"{room}/")), None)


def floor_of(path: str, inner: tuple[str, ...] = ()) -> tuple[int, int]:
    """How high a file stands: its floor, and for files of eval/ the place of their room among its rooms.

    Args:
        path (`str`): A file that stands in a room.
        inner (`tuple[str, ...]`): The rooms of the evaluation, from `eval_rooms`; files beside them stand above.
    """
    room = room_of(path)
    assert room is not None, path
    if path.startswith("eval/"):
        name = path.split("/")[1].removesuffix(".py")
        return len(FLOORS) - 1, inner.index(name) if name in inner else len(inner)
    return next(i for i, floor in enumerate(FLOORS) if room in floor), 0


def reasons_against(arrow: Arrow, inner: tuple[str, ...] = ()) -> list[str]:
    """Why an arrow must not be, as sentences; none for most.

    Args:
        arrow (`Arrow`): One whose two files stand in rooms.
        inner (`tuple[str, ...]`): The rooms of the evaluation, from `eval_rooms`.
    """
    source, target = str(room_of(arrow.source)), str(room_of(arrow.target))
    found = []
    if floor_of(arrow.target, inner) > floor_of(arrow.source, inner):
        found.append(f"{arrow}: {source} -> {target} points up")
    for (above, below), reason in FORBIDDEN.items():
        if _within(source, above) and _within(target, below):
            found.append(f"{arrow}: {source} -> {target} must never be, for {reason}")
    return found


def _within(room: str, named: str) -> bool:
    return room == named or room.startswith(f"{named}/")


@dataclass(frozen=True)
class View:
    """The house seen from one side: its rooms from the top down, how many imports go from one to another, what each
    is for, and the files in it."""

    counts: dict[tuple[str, str], int]
    about: dict[str, str]
    files: dict[str, list[str]]


def house(root: Path = ROOT) -> View:
    """The rooms of the library; the evaluation is one room, whose files are its own rooms."""
    order = [room for floor in reversed(FLOORS) for room in reversed(floor)]
    view = _view(root, order, lambda path: "eval" if path.startswith("eval/") else str(room_of(path)))
    view.files["eval"] = list(dict.fromkeys(name.split("/")[0] for name in view.files["eval"]))
    return view


def evaluation(root: Path = ROOT) -> View:
    """The rooms of the evaluation, and files that rooms stand upon; what it stands on itself is one room each."""
    inner = [f"eval/{name}" for name in reversed(eval_rooms(root))]
    inner = [name if (root / name).is_dir() else f"{name}.py" for name in inner]

    def seen_in(path: str) -> str:
        if not path.startswith("eval/"):
            return path.split("/")[0]
        return path if path in inner else str(room_of(path))

    view = _view(root, ["eval", *inner, "pipelines", "toca"], seen_in)
    view.files["pipelines"] = view.files["toca"] = []
    return view


def _view(root: Path, order: list[str], seen_in: Callable[[str], str]) -> View:
    files: dict[str, list[str]] = {room: [] for room in order}
    for path in files_of(root).values():
        room = seen_in(path)
        if path != room and not path.endswith("__init__.py"):
            files[room].append(path.removeprefix(f"{room}/").removesuffix(".py"))
    pairs = ((seen_in(arrow.source), seen_in(arrow.target)) for arrow in arrows(root))
    counts = Counter(pair for pair in pairs if pair[0] != pair[1])
    return View(dict(counts), {room: _about(root / room) for room in order}, files)


def _about(path: Path) -> str:
    """The first paragraph of a module's docstring, or of a package's."""
    file = path if path.suffix else path / "__init__.py"
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    return " ".join(text.split("\n\n")[0].split())


def circles(drawn: list[Arrow]) -> list[list[str]]:
    """The files that hang together in a circle of imports: each one reaches each other one of its list."""
    below: dict[str, set[str]] = {}
    for arrow in drawn:
        below.setdefault(arrow.source, set()).add(arrow.target)
        below.setdefault(arrow.target, set())
    reached = {path: _reached(path, below) for path in below}
    found = {tuple(sorted(b for b in reached[a] if a in reached[b])) for a in below if a in reached[a]}
    return [list(circle) for circle in sorted(found)]


def _reached(start: str, below: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    todo = list(below[start])
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo += below[path]
    return seen
