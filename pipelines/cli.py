"""The command line: `toca generate`, `methods`, and whatever else has a file in `commands/` or an entry point."""

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
from toca.pipelines.commands.console import errors
from toca.pipelines.commands.joining import import_plugins, our_commands, their_commands

# What a user can put right. Anything else is a bug and keeps its traceback.
USER_ERRORS = (ValueError, OSError, ImportError)
LONGEST = 1500
"""Characters of a message: the system puts whole paths into its own."""


class OneSentenceGroup(TyperGroup):
    """Commands whose mistakes end in one sentence on stderr and a non-zero exit code.

    Those of other packages, and `eval`, are looked for when somebody asks for a list, or for a name that is not ours:
    whoever makes a picture does not wait for them.
    """

    joined = False

    def list_commands(self, ctx: Any) -> list[str]:
        self._join()
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.commands:
            self._join()
        return super().get_command(ctx, cmd_name)

    def _join(self) -> None:
        if not self.joined:
            self.joined = True
            self.commands.update(their_commands(self.commands))

    def main(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["standalone_mode"] = False
        import_plugins()
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
for command in our_commands():
    app.command()(command)


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
