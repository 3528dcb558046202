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

import toca
from toca.methods.learned import LearnedRouter
from toca.methods.router import Router
from toca.methods.router_drawing import draw_routers

from .choose import yardstick_for
from .conditions import HELD_OUT
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


class Table:
    """Lines about routers of one model, measured on the captions that are held out.

    Args:
        routers (`dict[str, Router]`): By what they are called.
        threshold (`float`): r above which a site computes.
        seed (`int`): Of the pictures' noise.
        captions (`int`): How many.
    """

    def __init__(self, routers: dict[str, Router], threshold: float, seed: int, captions: int):
        self.routers, self.threshold = routers, threshold
        self.yardstick = yardstick_for(next(iter(routers.values())), 2, seed, captions)
        self.sites, self.stack = (Reuse(self.yardstick, whole) for whole in (False, True))

    def rows(self, chance: bool) -> Iterator[str]:
        """Each router beside plain reuse that saves as much, and FORA's intervals; by chance, each router's scores in
        the places of others too."""
        for interval in INTERVALS:
            yield row(f"FORA, interval {interval}", self.yardstick.measure(toca.FORA(interval)))
        for name, router in self.routers.items():
            outcome = measured_router(self.yardstick, router, self.threshold)
            same_flops = [each.at(outcome.flops) for each in (self.sites, self.stack)]
            yield row(name, outcome, *same_flops, self.stack.at(outcome.clock, by="clock"))
            if chance:
                other = measured_router(self.yardstick, shuffled(router, 0), self.threshold)
                yield row(f"{name}, its scores shuffled", other)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("routers", type=Path, nargs="+", help="files of routers of one embedded model")
    parser.add_argument("--drawing", type=Path, help="where r is drawn, a PNG")
    parser.add_argument("--threshold", type=float, default=0.1)
    parser.add_argument("--captions", type=int, default=HELD_OUT, help="how many of those held out")
    parser.add_argument("--chance", action="store_true", help="measure routers of shuffled scores too")
    parser.add_argument("--seed", type=int, default=1000, help="of the pictures' noise")
    options = parser.parse_args()
    routers = {path.stem: Router.load(path) for path in options.routers}
    if options.drawing:
        draw_routers(list(routers.values()), options.threshold, options.drawing)
    print("making the pictures of full steps")
    table = Table(routers, options.threshold, options.seed, options.captions)
    print(HEAD)
    for line in table.rows(options.chance):
        print(line, flush=True)


if __name__ == "__main__":
    main()
