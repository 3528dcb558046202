"""Of the routers that a training put aside, at several thresholds, the one that is furthest above plain reuse.

python -m examples.routers.choose .data/routers/emoji-flux-harmonica/routers/*.json --output router.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich import print
from rich.progress import track

from toca.methods.learned import LearnedRouter
from toca.methods.router import Router
from toca.pipelines.loading import resolve_source
from toca.pipelines.prompts import known_prompts

from .conditions import CHOICE, split_prompts
from .yardstick import Reuse, Yardstick

THRESHOLDS = (0.1,)
LEAST_SPEEDUP = 1.1


def yardstick_for(router: Router, part: int, seed: int, most: int) -> Yardstick:
    """The model that a router was trained for, on at most so many of a part of its captions: those to choose with (1),
    or those to measure with (2)."""
    model = router.training["model"]
    captions = split_prompts(known_prompts(resolve_source(model)))[part][:most]
    return Yardstick(model, captions, router.num_inference_steps, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("routers", type=Path, nargs="+", help="files of routers of one model")
    parser.add_argument("--output", type=Path, help="where the best one is written")
    parser.add_argument("--thresholds", type=float, nargs="+", default=THRESHOLDS)
    parser.add_argument("--least", type=float, default=LEAST_SPEEDUP, help="speed-up by FLOPs below which none counts")
    parser.add_argument("--captions", type=int, default=CHOICE, help="how many of those to choose with")
    parser.add_argument("--seed", type=int, default=2000, help="of the pictures' noise")
    options = parser.parse_args()
    yardstick = yardstick_for(Router.load(options.routers[0]), 1, options.seed, options.captions)
    reuse = [Reuse(yardstick, whole) for whole in (False, True)]
    best, most = None, float("-inf")
    for path in track(options.routers, "measuring"):
        for threshold in options.thresholds:
            outcome = yardstick.measure(LearnedRouter(str(path), threshold))
            above = outcome.psnr - max(each.at(outcome.flops).psnr for each in reuse)
            came_to = f"{outcome.flops:.2f}x, {outcome.psnr:.1f} dB, {above:+.1f} dB to reuse"
            print(f"{path.stem}, r > {threshold}: {came_to}")
            if outcome.flops >= options.least and above > most:
                best, most = path, above
    if options.output and best is not None:
        Router.load(best).save(options.output)
        print(f"saved {options.output}: {best.stem}")


if __name__ == "__main__":
    main()
