"""What trained routers do to the embedded models: how close their pictures come to those of full steps, what they
save, and how close plain reuse comes that saves as much.

python -m examples.routers.figures pipelines/emoji/calibration/learned.json --drawing examples/pictures/routers.png
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rich import print
from rich.progress import track

import toca
from toca.methods.learned import LearnedRouter, Router

from .choose import yardstick_for
from .drawing import draw
from .yardstick import Outcome, Reuse, Yardstick

HEAD = (
    "| | sites computed | FLOPs speed-up | processor time | PSNR to full steps | reused sites, same FLOPs | "
    "reused stack, same FLOPs | reused stack, same time |\n|---|---|---|---|---|---|---|---|"
)
INTERVALS = (2, 3)


def row(name: str, outcome: Outcome, *others: Outcome) -> str:
    """A line of the table: what a method came to, and the PSNR of what it is held against."""
    cells = [f"{outcome.computed:.1%}", f"{outcome.flops:.2f}x", f"{outcome.clock:.2f}x", f"{outcome.psnr:.1f} dB"]
    cells += [f"{other.psnr:.1f} dB" for other in others] or [""] * 3
    return f"| {name} | {' | '.join(cells)} |"


def measured_router(yardstick: Yardstick, router: Router, threshold: float) -> Outcome:
    """The same for a router that is in no file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "router.json"
        router.save(path)
        return yardstick.measure(LearnedRouter(str(path), threshold))


def shuffled(router: Router, seed: int) -> Router:
    """The same scores, each in the place of another."""
    scores = [score for row in router.scores if row is not None for score in row]
    drawn = iter(random.Random(seed).sample(scores, len(scores)))
    rows = [None if row is None else tuple(next(drawn) for _ in row) for row in router.scores]
    return replace(router, scores=tuple(rows))


def rows(routers: dict[str, Router], threshold: float, seed: int) -> Iterator[str]:
    """Each router beside plain reuse that saves as much, its scores shuffled, and FORA's intervals."""
    yardstick = yardstick_for(next(iter(routers.values())), 2, seed)
    sites, stack = (Reuse(yardstick, whole) for whole in (False, True))
    for name, router in track(routers.items(), "measuring"):
        outcome = measured_router(yardstick, router, threshold)
        others = sites.at(outcome.flops), stack.at(outcome.flops), stack.at(outcome.clock, by="clock")
        yield row(name, outcome, *others)
        yield row(f"{name}, its scores shuffled", measured_router(yardstick, shuffled(router, 0), threshold))
    for interval in INTERVALS:
        yield row(f"FORA, interval {interval}", yardstick.measure(toca.FORA(interval)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("routers", type=Path, nargs="+", help="files of routers of one embedded model")
    parser.add_argument("--drawing", type=Path, help="where r is drawn, a PNG")
    parser.add_argument("--threshold", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1000, help="of the pictures' noise")
    options = parser.parse_args()
    routers = {path.stem: Router.load(path) for path in options.routers}
    if options.drawing:
        draw(list(routers.values()), options.threshold, options.drawing)
    print(HEAD)
    for line in rows(routers, options.threshold, options.seed):
        print(line)


if __name__ == "__main__":
    main()
