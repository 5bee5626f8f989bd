"""The page: a canvas, settings, and the translations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from pix2pix_lightning.cli.errors import format_error
from pix2pix_lightning.compat import limit_gradio_sessions, refuse_gradio_objects
from pix2pix_lightning.demo.model_pool import MODES
from pix2pix_lightning.demo.session import DemoSession

MAX_SAMPLES = 8
_HERE = Path(__file__).parent
_SEND_DRAWING = "(canvas, ...others) => [document.querySelector('#drawing canvas').toDataURL('image/png'), ...others]"
_SEND_UPLOAD = "(canvas, ...others) => [document.querySelector('#drawing').uploadedFile, ...others]"
_INTRODUCTION = (
    "Draw, or upload a picture: the translation follows while you draw. The model works best on pictures like those it "
    "was trained on; the example shows one."
)


def build_page(session: DemoSession) -> gr.Blocks:
    """Build the page as a gradio app. It serves one request at a time, and sends nothing to other servers.

    Args:
        session: Answers the requests. Its first model is loaded, and translates the example.

    Returns:
        The app, which `build_server` serves.

    Raises:
        UserError: The first model cannot be loaded.
        OSError: Its file cannot be read.
    """
    names = session.models.names
    first = session.describe_canvas(names[0])
    translated = session.translate(names[0], MODES[0], first["start"], seed=0, samples=1)
    with gr.Blocks(title="pix2pix", analytics_enabled=False) as page:
        gr.HTML(f"<h1>pix2pix</h1><p>{_INTRODUCTION}</p>", elem_id="about")
        model = gr.Dropdown(
            names, value=names[0], label="Model", visible=len(names) > 1, filterable=False, elem_id="model"
        )
        with gr.Row(equal_height=False):
            with gr.Column(min_width=300):
                canvas = gr.HTML(
                    first,
                    html_template=_read_text("canvas.html"),
                    js_on_load=_read_text("canvas.js"),
                    elem_id="drawing",
                    apply_default_css=False,
                )
            with gr.Column(min_width=300):
                results = gr.HTML(
                    translated,
                    html_template=_read_text("results.html"),
                    js_on_load=_read_text("results.js"),
                    elem_id="results",
                    apply_default_css=False,
                )
        with gr.Accordion("Settings", open=False, elem_id="settings"):
            to_training_size = gr.Checkbox(True, label=_format_resize_label(first), elem_id="resize")
            mode = gr.Radio(
                MODES,
                value=MODES[0],
                label="Mode",
                info="deterministic: the same result each time. paper: dropout as noise, as in the paper (section 3.3)",
            )
            with gr.Row(visible=False) as noise:
                seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1)
                samples = gr.Slider(1, MAX_SAMPLES, value=1, step=1, label="Samples")

        def choose_model(name: str) -> tuple[Any, Any, Any]:
            description = _answer(lambda: session.describe_canvas(name))
            return description, [], gr.Checkbox(label=_format_resize_label(description))

        def load_upload(file: str, name: str, to_size: bool) -> Any:
            description = _answer(lambda: session.load_upload(name, file, to_training_size=to_size))
            if description["note"]:
                gr.Info(description["note"], duration=None)
            return description

        def translate(drawing: str, name: str, how: str, number: float | None, count: int) -> Any:
            is_random = how != MODES[0]
            options = {"seed": int(number or 0), "samples": int(count)} if is_random else {"seed": 0, "samples": 1}
            return _answer(lambda: session.translate(name, how, drawing, **options))

        one_at_a_time: dict[str, Any] = {
            "api_visibility": "private",
            "concurrency_limit": 1,
            "concurrency_id": "models",
        }
        model.change(choose_model, model, [canvas, results, to_training_size], show_progress="hidden", **one_at_a_time)
        canvas.upload(
            load_upload,
            [canvas, model, to_training_size],
            canvas,
            js=_SEND_UPLOAD,
            show_progress="hidden",
            **one_at_a_time,
        )
        gr.on(
            [canvas.input, mode.change, seed.change, samples.change],
            translate,
            [canvas, model, mode, seed, samples],
            results,
            js=_SEND_DRAWING,
            trigger_mode="always_last",  # a session waits for its answer, and then sends what is drawn by then
            show_progress="hidden",
            **one_at_a_time,
        )
        mode.change(
            lambda how: gr.Row(visible=how != MODES[0]), mode, noise, api_visibility="private", show_progress="hidden"
        )
        page.queue(max_size=session.max_waiting, api_open=False)
    limit_gradio_sessions(page, session.max_waiting + 1)
    refuse_gradio_objects(page)
    app: gr.Blocks = page
    return app


def _answer(ask: Callable[[], Any]) -> Any:
    """Return the answer. A user error becomes one line on the page, and the server continues."""
    try:
        return ask()
    except Exception as error:
        line = format_error(error, "demo")
        if line is None:
            raise
        raise gr.Error(line, duration=None, print_exception=False) from None


def _format_resize_label(canvas: Mapping[str, Any]) -> str:
    return f"Resize uploads to {canvas['width']} x {canvas['height']}, as in training"


def _read_text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
