"""The page: what a visitor sees, and what happens when he clicks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
import torch
from gradio.processing_utils import save_bytes_to_cache

from toca.pipelines.demo import drawing, fields, limits
from toca.pipelines.demo.facts import caption, facts
from toca.pipelines.demo.kept import Kept, Picture
from toca.pipelines.demo.running import make
from toca.pipelines.demo.snippets import as_command, as_python
from toca.pipelines.demo.subject import Subjects

MOST_IN_GALLERY = 24
WAITING = 20
"""Wishes that wait in line; the next one is told to come back."""
SECONDS_KEPT = 2 * 3600
"""How long the file of a picture can be fetched."""
SIDES = ("width", "height")
TITLE = "toca: the same picture in less time"
ABOUT = f"""# {TITLE}
A diffusion transformer makes a picture in many steps, and most of what it computes hardly moves from one to the next.
`toca` keeps that. Ask for a picture: it is made by the full model and with a cache, from the same noise."""
STYLE = """
#facts table { width: 100% }
#facts th, #facts td { padding: 4px 8px; overflow-wrap: normal; word-break: normal }
#facts code { overflow-wrap: anywhere; white-space: normal }
#session .grid-container { grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)) !important }
#session .thumbnail-lg { aspect-ratio: 5 / 3 }
"""


@dataclass(frozen=True)
class Answers:
    """What the page does for its visitors.

    Args:
        subjects (`Subjects`): the models.
        kept (`Kept`): pictures of the full model.
        folder (`str`): where files are served from.
    """

    subjects: Subjects
    kept: Kept
    folder: str

    def chosen(self, model: str) -> list[Any]:
        """Another model is chosen: what it offers."""
        try:
            subject = self.subjects[model]
        except (ValueError, OSError) as error:
            raise gr.Error(str(error), print_exception=False) from error
        place = fields.usual_place(subject)
        offers = [fields.prompts(subject), fields.slider(subject), {"value": fields.told(subject, place)}]
        offers += [fields.methods(subject), {"value": subject.full_steps}, {"visible": subject.takes_size}]
        return [gr.update(**offer) for offer in offers + [fields.side(subject, name) for name in SIDES]]

    def moved(self, model: str, place: float) -> str:
        """The slider is moved: what lies there."""
        return fields.told(self.subjects[model], place)

    def wished(
        self, model: str, prompt: str, position: float, method: str, seed: int, steps: float, width: int | None,
        height: int | None, session: list[Any], progress: Any = gr.Progress(),
    ) -> list[Any]:  # fmt: skip
        """The button: a picture, made twice, and all that is told of it."""
        try:
            subject = self.subjects[model]
            wish = fields.wish_of(subject, prompt, position, method, seed, int(steps), width, height)
            made = make(subject, wish, self.kept, lambda step, of, what: progress((step, of), desc=what))
        except torch.OutOfMemoryError as error:
            raise gr.Error("The device is out of memory: ask for a smaller picture.") from error
        except (ValueError, OSError) as error:
            raise gr.Error(str(error), print_exception=False) from error
        note = subject.advice(wish.prompt)
        if note:
            gr.Info(note)
        shown = [(drawing.pair(made), caption(made)), *session][:MOST_IN_GALLERY]
        pictures = [self._shown(made.full), self._shown(made.cached)]
        drawn = [drawing.plan_picture(made), drawing.token_picture(made), drawing.tokens_told(made)]
        python = as_python(wish, len(made.summary.steps), subject.condition)
        return [*pictures, facts(made), *drawn, python, as_command(wish), shown, shown]

    def _shown(self, picture: Picture) -> Any:
        if len(picture.frames) == 1:
            return drawing.enlarged(picture.frames[0])
        return save_bytes_to_cache(drawing.moving(picture.frames), "video.gif", cache_dir=self.folder)


def page(subjects: Subjects, kept: Kept, folder: str) -> gr.Blocks:
    """The page, whose models are loaded as they are asked for."""
    answers, first = Answers(subjects, kept, folder), subjects[subjects.offered[0]]
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, SECONDS_KEPT)) as blocks:
        gr.Markdown(ABOUT)
        session = gr.State([])
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                model = gr.Dropdown(list(subjects.offered), label="Model")
                prompt = gr.Dropdown(**fields.prompts(first), elem_id="prompt")
                position = gr.Slider(**fields.slider(first), step=1, label="From quality to speed", elem_id="position")
                told = gr.Markdown(fields.told(first, fields.usual_place(first)))
                with gr.Accordion("For experts", open=False):
                    method = gr.Dropdown(**fields.methods(first), label="Method")
                    seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=limits.LARGEST_SEED)
                    label = "Steps, of a method; a tuned plan has its own"
                    steps = gr.Slider(2, limits.MOST_STEPS, first.full_steps, step=1, label=label)
                    with gr.Row(visible=first.takes_size) as sizes:
                        sides = [gr.Number(**fields.side(first, each), label=each.capitalize()) for each in SIDES]
                button = gr.Button("Make the picture", variant="primary", elem_id="make")
            with gr.Column(scale=3, min_width=300):
                with gr.Row(elem_id="pictures"):
                    full, cached = (
                        gr.Image(label=label, interactive=False, min_width=140, format="png", buttons=["download"])
                        for label in ("Full model", "With the cache")
                    )
                table = gr.Markdown(elem_id="facts")
                with gr.Tab("Plan"):
                    plan = gr.Image(**_drawn("plan"))
                with gr.Tab("Tokens"):
                    overlay, tokens = gr.Image(**_drawn("overlay"), height=380), gr.Markdown()
                with gr.Tab("Python"):
                    python = gr.Code(language="python", interactive=False, label="Copy as Python", elem_id="python")
                with gr.Tab("Command"):
                    label = "Copy as command"
                    command = gr.Code(language="shell", interactive=False, label=label, elem_id="command")
        label = "This session: the full model on the left, with the cache on the right"
        gallery = gr.Gallery(
            label=label, columns=4, height=300, object_fit="contain", preview=False, interactive=False, format="png",
            elem_id="session",
        )

        offers = [prompt, position, told, method, steps, sizes, *sides]
        # A wish made of another model's offers would be refused, so the button waits while a model is loaded.
        off = model.input(lambda: gr.update(interactive=False), None, button, queue=False, api_visibility="private")
        there = off.then(answers.chosen, model, offers, api_visibility="private")
        there.then(lambda: gr.update(interactive=True), None, button, queue=False, api_visibility="private")
        position.change(answers.moved, [model, position], told, api_visibility="private", show_progress="hidden")
        # One at a time, whatever the model: what runs beside it would be in its seconds.
        button.click(
            answers.wished,
            [model, prompt, position, method, seed, steps, *sides, session],
            [full, cached, table, plan, overlay, tokens, python, command, gallery, session],
            api_name="make",
            show_progress_on=[full, cached],
            concurrency_limit=1,
        )
    blocks.queue(max_size=WAITING)
    return blocks


def _drawn(name: str) -> dict[str, Any]:
    return {"show_label": False, "interactive": False, "format": "png", "buttons": ["fullscreen"], "elem_id": name}
