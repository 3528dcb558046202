"""The page on the families: what was seen of a class as a section, and all sections as a page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from toca.models import BlockSpec, FamilySpec, SiteSpec

TITLE = "# Families"
COMMAND = "make families"
KINDS = {
    "attention": "attention",
    "feed_forward": "feed-forward",
    "parallel_block": "attention and feed-forward at once",
}


@dataclass(frozen=True)
class Result:
    """What was seen in one cell.

    Args:
        entry (`str`): The class, or a variant of it.
        method (`str`): Name of the method.
        refusal (`str`): What was said where it was refused; else empty.
        broken (`dict[str, str]`): The promises that do not hold, and why.
        unasked (`tuple[str, ...]`): The promises that this model cannot be asked.
    """

    entry: str
    method: str
    refusal: str = ""
    broken: Mapping[str, str] = field(default_factory=dict)
    unasked: tuple[str, ...] = ()


def section(spec: FamilySpec, results: Sequence[Result], promises: Sequence[str], pipelines: Iterable[str]) -> str:
    """The section of a class, without its heading."""
    parts = [
        f"Family `{spec.name}`. Pipelines: {', '.join(f'`{name}`' for name in sorted(pipelines)) or 'none'}.",
        _sites(spec),
        _variants(results),
        _outcomes(results, promises),
        _reasons(results),
    ]
    return "\n\n".join(part for part in parts if part)


def overview_row(name: str, spec: FamilySpec, results: Sequence[Result]) -> str:
    """The class in the table at the head of the page."""
    own = [result for result in results if result.entry == name]
    refused = [result.method for result in own if result.refusal]
    wrong = [_cell(result) for result in results if result.broken]
    applied = len(own) - len(refused)
    broken = sum(bool(result.broken) for result in own)
    told = f"{applied - broken} of {applied}; not {', '.join(wrong)}" if wrong else f"all {applied}"
    return f"| [`{name}`](#{name.lower()}) | {spec.name} | {told} | {_names(refused)} |"


def _cell(result: Result) -> str:
    """The method, with the variant of the model where it is one."""
    variant = result.entry.partition("/")[2]
    return f"`{result.method}`" + (f" ({variant})" if variant else "")


def page(
    sections: Mapping[str, str],
    rows: Mapping[str, str],
    promises: Mapping[str, str],
    methods: Iterable[str],
    classes: Iterable[str],
    outside: Mapping[str, str],
) -> str:
    """The whole page.

    Args:
        sections, rows (`dict[str, str]`): By class.
        promises (`dict[str, str]`): What each means, in a sentence.
        methods (`Iterable[str]`): Names of all that are run.
        classes (`Iterable[str]`): All classes of diffusers that denoise, with a family or without.
        outside (`dict[str, str]`): Those that do not, and why.
    """
    lacking = [name for name in classes if name not in sections]
    head = [
        TITLE,
        "Every family of transformers that toca caches, and what was seen of it: each class of diffusers as a tiny "
        f"random model, with every method that applies. `{COMMAND}` runs all of it and writes this page; `python -m "
        "tests.zoo.table Wan` does so for the classes whose name holds a word. The same cells are tests "
        "(`tests/zoo/test_conformance.py`).",
        "\n".join(f"- **{name}**: {text}" for name, text in promises.items()),
        f"The methods are {_names(methods)}: those of `toca methods`, and more settings of some, by their names in "
        "`tests/conformance/common.py`. One is refused where `toca.enable_cache` raises a `ValueError` that says why, "
        "and changes nothing.",
        "\n".join(
            ["| class | family | methods that keep every promise | refused |", "|---|---|---|---|", *_sorted(rows)]
        ),
    ]
    if lacking:
        head.append("Without a family yet, and refused by name: " + ", ".join(f"`{name}`" for name in lacking) + ".")
    reasons = {why: [name for name in outside if outside[name] == why] for why in outside.values()}
    said = [f"- {_names(names)}: {why}." for why, names in reasons.items()]
    head.append("\n".join(["What is refused for good, by the class and with the reason:\n", *said]))
    body = [f"## {name}\n\n{text}" for name, text in sorted(sections.items())]
    return "\n\n".join([*head, *body]) + "\n"


def read(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """Sections and rows of a page by class, as they stand in it."""
    head, *bodies = re.split(r"^## ", text, flags=re.MULTILINE)
    sections = {name.strip(): body.strip() for name, _, body in (part.partition("\n") for part in bodies)}
    rows = {found[1]: line for line in head.splitlines() if (found := re.match(r"\| \[`(\w+)`\]", line))}
    return sections, rows


def _sorted(rows: Mapping[str, str]) -> list[str]:
    return [rows[name] for name in sorted(rows)]


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _sites(spec: FamilySpec) -> str:
    lines = ["| stack | site | module | tokens | what is kept |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *(_site(stack, site) for stack in spec.stacks for site in stack.sites)])


def _site(stack: BlockSpec, site: SiteSpec) -> str:
    rows = "" if stack.rows == "sample" else f", a {stack.rows} a row"
    whole = ", computed or reused whole" if site.whole else ""
    kept = "read by no one but the block" if site.inside else f"output of the {KINDS.get(site.kind, site.kind)}"
    path = f"{stack.blocks}.*.{site.path}".rstrip(".")
    return f"| {stack.stack} | {site.module} | `{path}` | {site.stream}{rows} | {kept}{whole} |"


def _variants(results: Sequence[Result]) -> str:
    names = dict.fromkeys(result.entry.partition("/")[2] for result in results)
    named = [name for name in names if name]
    return f"Also run as: {', '.join(named)}." if named else ""


def _outcomes(results: Sequence[Result], promises: Sequence[str]) -> str:
    """For the class and each variant one row for all methods of which the same was seen."""
    lines = [f"| methods | {' | '.join(promises)} |", f"|---|{'---|' * len(promises)}"]
    for entry in dict.fromkeys(result.entry for result in results):
        own = [result for result in results if result.entry == entry]
        groups: dict[tuple[str, ...], list[str]] = {}
        for result in own:
            seen = () if result.refusal else tuple(_seen(result, promise, promises) for promise in promises)
            groups.setdefault(seen, []).append(result.method)
        largest = max((names for seen, names in groups.items() if seen), key=len, default=None)
        variant = entry.partition("/")[2]
        for seen, names in groups.items():
            said = _names(names) if names is not largest else f"all {'others' if len(groups) > 1 else len(names)}"
            if seen:
                lines.append(f"| {said}{f' ({variant})' if variant else ''} | {' | '.join(seen)} |")
    return "\n".join(lines)


def _seen(result: Result, promise: str, promises: Sequence[str]) -> str:
    if promise in result.unasked:
        return "one sample a call"
    unknown = any(name not in promises for name in result.broken)
    return "**no**" if promise in result.broken or unknown else "yes"


def _reasons(results: Sequence[Result]) -> str:
    """Why methods were refused, and in what way promises do not hold; the same is said once."""
    said: dict[str, list[str]] = {}
    for result in results:
        texts = [f"refused: {result.refusal}"] if result.refusal else []
        for text in [*texts, *(f"{promise}: {why}" for promise, why in result.broken.items())]:
            said.setdefault(" ".join(text.split()), []).append(_cell(result))
    return "\n".join(f"- {', '.join(names)}: {text}" for text, names in said.items())
