"""What a visitor takes home: the lines that make the picture that he sees."""

from __future__ import annotations

import shlex

from toca.pipelines.demo.limits import Wish


def as_python(wish: Wish, steps: int, condition: str) -> str:
    """A program that makes the cached picture, and holds it as `image`; of a video the frames.

    Args:
        wish (`Wish`): what was asked for.
        steps (`int`): that the picture was made in.
        condition (`str`): the argument of the pipeline's call that the prompt is, `"prompt"` or `"class_labels"`.
    """
    how = f"speedup={wish.speedup:g}" if wish.method is None else repr(wish.method)
    sizes = {name: value for name in ("height", "width") if (value := getattr(wish, name)) is not None}
    lines = [f"{condition}={wish.prompt!r}", f"num_inference_steps={steps}"]
    lines += [f"{name}={value}" for name, value in sizes.items()]
    lines.append(f"generator=torch.Generator().manual_seed({wish.seed})")
    arguments = "".join(f"    {line},\n" for line in lines)
    return f"""import torch

import toca
from toca.pipelines import load

pipe = load({wish.model!r})
toca.enable_cache(pipe, {how})
output = pipe(
{arguments})
image = output[0][0]
print(toca.summary(pipe))
"""


def as_command(wish: Wish) -> str:
    """The command that makes the cached picture."""
    words = ["toca", "generate", "--model", wish.model]
    words += ["--speedup", f"{wish.speedup:g}"] if wish.method is None else ["--method", wish.method]
    for name in ("steps", "height", "width"):
        if getattr(wish, name) is not None:
            words += [f"--{name}", str(getattr(wish, name))]
    # What follows a bare -- is no option, however it begins.
    return shlex.join([*words, "--seed", str(wish.seed), "--", wish.prompt])
