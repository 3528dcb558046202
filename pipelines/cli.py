"""The command line: `toca generate`, `methods`, and whatever else has a file in `commands/` or an entry point."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from toca import __version__
from toca.checks import cleaned
from toca.pipelines.commands.console import errors, output
from toca.pipelines.commands.joining import import_plugins, our_commands, their_commands

# What a user can put right. Anything else is a bug and keeps its traceback.
USER_ERRORS = (ValueError, OSError, ImportError)
LONGEST = 1500
"""Characters of a message: the system puts whole paths into its own."""


class OneSentenceGroup(TyperGroup):
    """Commands whose mistakes end in one sentence on stderr and a non-zero exit code.

    Those of other packages, and `eval`, are looked for when somebody asks for a list, or for a name that is not ours:
    whoever makes a picture does not wait for them. Who asks for help waits for nothing: what takes seconds to import
    is imported by a command that runs.
    """

    joined = False
    quiet = False
    """Whether the libraries are to say nothing: in a process of the console script."""
    helps = False

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

    def invoke(self, ctx: Any) -> Any:
        if not self.helps:
            import_plugins()
            if self.quiet:
                hush_libraries()
        return super().invoke(ctx)

    def main(self, args: Sequence[str] | None = None, *more: Any, **kwargs: Any) -> Any:
        kwargs["standalone_mode"] = False
        self.helps = "--help" in (sys.argv[1:] if args is None else args)
        try:
            code = super().main(args, *more, **kwargs)
        except (typer.Abort, KeyboardInterrupt):
            fail("Stopped.", 130)
        except USER_ERRORS as error:
            fail(str(error), getattr(error, "exit_code", 1))
        except Exception as error:
            if _is_out_of_memory(error):
                fail("The device is out of memory: try a smaller --batch-size, --height and --width, or --dtype.", 1)
            # Typer's own errors (wrong arguments) come from a copy of click that it keeps to itself.
            if not hasattr(error, "format_message"):
                raise
            fail(error.format_message(), 2)
        sys.exit(code if isinstance(code, int) else 0)


def _is_out_of_memory(error: Exception) -> bool:
    torch = sys.modules.get("torch")  # who has not imported it has not filled a device
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


def fail(message: str, code: int) -> None:
    """Print an error, if it has a text (`toca` alone has printed its help), on one line and exit."""
    if message:
        errors.print("Error:", cleaned(message, LONGEST), style="bold red")
    sys.exit(code)


app = typer.Typer(
    cls=OneSentenceGroup,
    help="Diffusion transformers, faster: features are cached between denoising steps.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _tell_version(asked: bool) -> None:
    if asked:
        output.print(f"toca {__version__}")
        raise typer.Exit


@app.callback()
def _before_all(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


for command in our_commands():
    app.command()(command)


def main() -> None:
    """The console script."""
    OneSentenceGroup.quiet = True
    app()


def eval_main() -> None:
    """`toca eval`, as a module that a launcher of many processes can start."""
    OneSentenceGroup.quiet = True
    app(["eval", *sys.argv[1:]])


def hush_libraries() -> None:
    """Notices for developers, and bars for files already on disk, are noise to whoever wants a picture."""
    import diffusers
    import transformers

    warnings.filterwarnings("ignore", category=FutureWarning)
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
