"""The page: a canvas, the models' settings, and what comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from pix2pix_lightning.cli.errors import format_error
from pix2pix_lightning.demo.models import MODES
from pix2pix_lightning.demo.studio import Studio

MAX_SAMPLES = 8
_HERE = Path(__file__).parent
_PRESSED = "(canvas, ...others) => [document.querySelector('#drawing canvas').toDataURL('image/png'), ...others]"
_UPLOADED = "(canvas, ...others) => [document.querySelector('#drawing').uploaded, ...others]"
_ASKED = (
    "Draw, or upload a picture, and press Translate: the model shows what it makes of it. It does so best with what "
    "looks like the pictures that it was trained on, of which the example gives an idea."
)


class _Page(gr.Blocks):
    """Blocks whose inputs are plain values: what describes a file would be looked for, and an address asked."""

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *others: Any, **options: Any) -> Any:
        """What the functions get of what a visitor sent."""
        if any(isinstance(value, dict | list) for value in inputs):
            raise gr.Error("a value of another kind than expected", print_exception=False)
        return await super().preprocess_data(block_fn, inputs, *others, **options)


def build(studio: Studio) -> gr.Blocks:
    """The page as an app, which sends nothing to others, and takes one request at a time.

    Args:
        studio: Answers the requests. The first of its models is opened.

    Raises:
        ValueError: The first model cannot be opened.
        OSError: Its file cannot be read.
    """
    names = studio.models.names
    first = studio.canvas(names[0])
    with _Page(title="pix2pix", analytics_enabled=False) as page:
        gr.HTML(f"<h1>pix2pix</h1><p>{_ASKED}</p>", elem_id="about")
        model = gr.Dropdown(
            names, value=names[0], label="Model", visible=len(names) > 1, filterable=False, elem_id="model"
        )
        with gr.Row(equal_height=False):
            with gr.Column(min_width=300):
                canvas = gr.HTML(
                    first,
                    html_template=_text("canvas.html"),
                    js_on_load=_text("canvas.js"),
                    elem_id="drawing",
                    apply_default_css=False,
                )
                press = gr.Button("Translate", variant="primary", elem_id="translate")
            with gr.Column(min_width=300):
                results = gr.HTML(
                    [],
                    html_template=_text("results.html"),
                    js_on_load=_text("results.js"),
                    elem_id="results",
                    apply_default_css=False,
                )
        with gr.Accordion("Settings", open=False, elem_id="settings"):
            to_training_size = gr.Checkbox(True, label=_resizing(first), elem_id="resize")
            mode = gr.Radio(
                MODES,
                value=MODES[0],
                label="Mode",
                info="deterministic: the same each time. paper: with dropout's noise, as the paper has it",
            )
            with gr.Row(visible=False) as noise:
                seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1)
                samples = gr.Slider(1, MAX_SAMPLES, value=1, step=1, label="Samples")

        def chosen(name: str) -> tuple[Any, Any, Any]:
            described = _answer(lambda: studio.canvas(name))
            return described, [], gr.Checkbox(label=_resizing(described))

        def uploaded(file: str, name: str, to_size: bool) -> Any:
            return _answer(lambda: studio.uploaded(name, file, to_training_size=to_size))

        def pressed(drawing: str, name: str, how: str, number: float | None, count: int) -> Any:
            noisy = how != MODES[0]
            return _answer(
                lambda: studio.translated(
                    name, how, drawing, seed=int(number or 0) if noisy else 0, samples=int(count) if noisy else 1
                )
            )

        one_at_a_time: dict[str, Any] = {
            "api_visibility": "private",
            "concurrency_limit": 1,
            "concurrency_id": "models",
        }
        model.change(chosen, model, [canvas, results, to_training_size], show_progress="hidden", **one_at_a_time)
        canvas.upload(
            uploaded, [canvas, model, to_training_size], canvas, js=_UPLOADED, show_progress="hidden", **one_at_a_time
        )
        press.click(pressed, [canvas, model, mode, seed, samples], results, js=_PRESSED, **one_at_a_time)
        mode.change(
            lambda how: gr.Row(visible=how != MODES[0]), mode, noise, api_visibility="private", show_progress="hidden"
        )
        page.queue(max_size=studio.max_waiting, api_open=False)
        page.state_session_capacity = studio.max_waiting + 1  # pages whose last pictures gradio keeps, megabytes each
    blocks: gr.Blocks = page
    return blocks


def _answer(ask: Callable[[], Any]) -> Any:
    """What is asked for; a mistake is one line on the page, and the server goes on."""
    try:
        return ask()
    except Exception as error:
        line = format_error(error, "demo")
        if line is None:
            raise
        raise gr.Error(line, duration=None, print_exception=False) from None


def _resizing(canvas: Mapping[str, Any]) -> str:
    return f"Resize uploads to {canvas['size']} x {canvas['size']}, as in training"


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
