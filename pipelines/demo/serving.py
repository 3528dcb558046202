"""The demo on a port, with a folder of its own that goes with it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from toca.pipelines.demo.kept import Kept
from toca.pipelines.demo.subject import Subjects
from toca.pipelines.registry import models

LARGEST_UPLOAD = "1kb"
"""The page takes no files; gradio has an address for them all the same."""


def offered(model: str | None) -> tuple[str, ...]:
    """The models of a demo: one that is named, or those that come with toca."""
    if model is not None:
        return (model,)
    return tuple(name for name, entry in models().items() if entry.embedded)


@contextmanager
def serving(model: str | None = None, host: str | None = None, port: int | None = None) -> Iterator[Any]:
    """The demo, open for the length of a `with` block: gradio's blocks, with `local_url`.

    Args:
        model (`str`, *optional*): the only one that is offered; else those that come with toca.
        host (`str`, *optional*): the name or number to listen at; gradio's own by default, which is this machine.
        port (`int`, *optional*): the port; a free one from 7860 by default.

    Raises:
        ImportError: if gradio is not installed, with what installs it.
        ValueError, OSError: if the model cannot be had, or the port is taken.
    """
    # Read when gradio is imported.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ImportError as error:
        how = 'pip install "toca-diffusion[demo]"'
        raise ImportError(f"The demo needs gradio: {how}.") from error
    from toca.pipelines.demo.page import STYLE, page

    subjects = Subjects(offered(model))
    with tempfile.TemporaryDirectory(prefix="toca-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # what gradio serves pictures from
        blocks = page(subjects, Kept(), folder)
        try:
            blocks.launch(
                server_name=host,
                server_port=port,
                prevent_thread_lock=True,
                quiet=True,
                share=False,
                ssr_mode=False,
                show_error=True,
                max_file_size=LARGEST_UPLOAD,
                footer_links=[],
                theme=gradio.themes.Default(primary_hue="emerald"),
                css=STYLE,
            )
            yield blocks
        finally:
            blocks.close(verbose=False)
