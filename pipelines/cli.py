"""The command line: `toca generate`, `methods`, `models`, `plan`, `calibrate`, `eval`, `env`."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import diffusers
import torch
import transformers
import typer
from typer.core import TyperGroup

from toca.checks import cleaned
from toca.eval.command import app as evaluation
from toca.pipelines.commands.calibrate import calibrate
from toca.pipelines.commands.console import errors
from toca.pipelines.commands.env import env
from toca.pipelines.commands.generate import generate
from toca.pipelines.commands.methods import methods
from toca.pipelines.commands.models import models
from toca.pipelines.commands.plan import plan

# What a user can put right. Anything else is a bug and keeps its traceback.
USER_ERRORS = (ValueError, OSError, ImportError)
LONGEST = 1500
"""Characters of a message: the system puts whole paths into its own."""


class OneSentenceGroup(TyperGroup):
    """Commands whose mistakes end in one sentence on stderr and a non-zero exit code."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["standalone_mode"] = False
        try:
            code = super().main(*args, **kwargs)
        except (typer.Abort, KeyboardInterrupt):
            fail("Stopped.", 130)
        except torch.OutOfMemoryError:
            fail("The device is out of memory: try a smaller --batch-size, --height and --width, or --dtype.", 1)
        except USER_ERRORS as error:
            fail(str(error), getattr(error, "exit_code", 1))
        except Exception as error:
            # Typer's own errors (wrong arguments) come from a copy of click that it keeps to itself.
            if not hasattr(error, "format_message"):
                raise
            fail(error.format_message(), 2)
        sys.exit(code if isinstance(code, int) else 0)


def fail(message: str, code: int) -> None:
    """Print an error, if it has a text (`toca` alone has printed its help), on one line and exit."""
    if message:
        errors.print("Error:", cleaned(message, LONGEST), style="bold red")
    sys.exit(code)


app = typer.Typer(
    cls=OneSentenceGroup,
    help="Diffusion transformers, faster: features are cached between denoising steps.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (generate, methods, models, plan, calibrate, env):
    app.command()(command)
app.add_typer(evaluation, name="eval")


def main() -> None:
    """The console script."""
    hush_libraries()
    app()


def eval_main() -> None:
    """`toca eval`, as a module that a launcher of many processes can start."""
    hush_libraries()
    app(["eval", *sys.argv[1:]])


def hush_libraries() -> None:
    """Notices for developers, and bars for files already on disk, are noise to whoever wants a picture."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
