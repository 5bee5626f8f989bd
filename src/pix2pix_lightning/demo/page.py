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
_CHOOSE_REQUEST = (
    "(canvas, model, ...others) => [document.querySelector('#drawing').chooseRequest(model), model, ...others]"
)
_END_REQUEST = "() => document.querySelector('#drawing').endRequest()"
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
                info="deterministic: the same result each time. paper: with noise, as in the paper (section 3.3)",
            )
            with gr.Row(visible=False) as noise:
                seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1)
                samples = gr.Slider(1, MAX_SAMPLES, value=1, step=1, label="Samples")

        def describe_model(name: str) -> dict[Any, Any]:
            description = session.describe_canvas(name)
            label = gr.Checkbox(label=_format_resize_label(description))
            return {canvas: description, results: [], to_training_size: label}

        def load_upload(file: str, name: str, to_size: bool) -> dict[Any, Any]:
            description = session.load_upload(name, file, to_training_size=to_size)
            if description["note"]:
                gr.Info(description["note"], duration=None)
            return {canvas: description}

        def translate(drawing: Any, name: str, how: str, number: float | None, count: int) -> dict[Any, Any]:
            is_random = how != MODES[0]
            options = {"seed": int(number or 0), "samples": int(count)} if is_random else {"seed": 0, "samples": 1}
            return {results: session.translate(name, how, drawing, **options), noise: gr.Row(visible=is_random)}

        def answer(request: Any, name: str, to_size: bool, how: str, number: float | None, count: int) -> Any:
            what, _, sent = request.partition(" ") if isinstance(request, str) else ("drawing", "", request)
            if what == "model":
                return _show_error(lambda: describe_model(name))
            if what == "upload":
                return _show_error(lambda: load_upload(sent, name, to_size))
            return _show_error(lambda: translate(sent, name, how, number, count))

        # gradio 6.31 can lose the answer to an event that is sent while another one ends (gradio_client_loses_answer in
        # findings/). So all requests are one event, and while it has no answer, empty ones open the stream of answers.
        answered = gr.on(
            [canvas.input, canvas.upload, model.change, mode.change, seed.change, samples.change],
            answer,
            [canvas, model, to_training_size, mode, seed, samples],
            [canvas, results, to_training_size, noise],
            js=_CHOOSE_REQUEST,
            trigger_mode="always_last",  # a session waits for its answer, and then chooses what it asks next
            show_progress="hidden",
            concurrency_limit=1,
            api_visibility="private",
        )
        answered.success(None, js=_END_REQUEST)
        answered.failure(None, js=_END_REQUEST)
        canvas.retry(
            _do_nothing,
            trigger_mode="multiple",
            show_progress="hidden",
            concurrency_limit=None,
            api_visibility="private",
        )
        page.queue(max_size=session.max_waiting, api_open=False)
    limit_gradio_sessions(page, session.max_waiting + 1)
    refuse_gradio_objects(page)
    app: gr.Blocks = page
    return app


def _do_nothing() -> None:
    """Answer an event without a result."""


def _show_error(ask: Callable[[], Any]) -> Any:
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
