"""The page as the command serves it: over HTTP, and in a browser if there is one."""

import base64
import http.client
import re
import signal
import threading
import time
from io import BytesIO

import numpy as np
import pytest
from demo_process import DemoProcess
from PIL import Image
from selenium.webdriver import ActionChains
from tiny_models import PALETTE, SPECS, save

from browser import chromium
from pix2pix_lightning import Translator
from pix2pix_lightning.data.pair_spec import PairSpec


@pytest.fixture(scope="module")
def server(checkpoints, tmp_path_factory):
    words = f"checkpoint=[{','.join(str(path) for path in checkpoints.values())}]"
    server = DemoProcess(tmp_path_factory.mktemp("server"), words, "max_megabytes=1", "max_waiting=24")
    yield server
    if server.process.poll() is None:
        server.stop()


@pytest.fixture(scope="module")
def browser(server, tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def url(pixels):
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def pixels(data_url):
    content = base64.b64decode(data_url.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(BytesIO(content)).convert("RGB"))


def lines(seed, side=64):
    picture = np.full((side, side, 3), 255, np.uint8)
    picture[np.random.default_rng(seed).integers(0, side, 5)] = 0
    return picture


def ask_at_once(server, pictures, name="edges.ckpt", mode="deterministic"):
    """Send all drawings at the same time; return their answers."""
    answers = [None] * len(pictures)

    def ask(number):
        answers[number] = server.ask(f"drawing {url(pictures[number])}", name, False, mode, 0, 1)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(pictures))]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return answers


def test_20_simultaneous_requests_get_their_own_answers(server, checkpoints):
    pictures = [lines(seed) for seed in range(20)]
    answers = ask_at_once(server, pictures)
    translator = Translator(checkpoints["edges"], device="cpu")
    for picture, (status, data) in zip(pictures, answers, strict=True):
        assert status == 200, data
        assert (pixels(data[1][0]["file"]) == translator(picture)).all()


def test_requests_beyond_the_queue_are_refused(server):
    answers = ask_at_once(server, [lines(seed) for seed in range(40)])
    refused = [line for status, line in answers if status != 200]
    assert all("Queue is full" in line for line in refused)
    assert len(answers) - len(refused) >= 24
    assert ask_at_once(server, [lines(0)])[0][0] == 200


def test_user_errors_are_one_line_and_the_server_continues(server):
    drawn, plain = f"drawing {url(lines(0))}", url(np.full((64, 64, 3), 120, np.uint8))
    for values, line in (
        ((None, "edges.ckpt", False, "deterministic", 0, 1), "the drawing is empty"),
        (("upload", "edges.ckpt", False, "deterministic", 0, 1), "the file is empty"),
        ((drawn, "edges.ckpt", False, "paper", 0, 1000), "1000 is greater than maximum value 8"),
        (("model", "/etc/passwd", False, "deterministic", 0, 1), "not in the list of choices"),
        ((f"drawing {plain}", "labels.ckpt", False, "deterministic", 0, 1), "none of the palette's"),
    ):
        status, error = server.ask(*values)
        assert status == 500
        assert line in error
        assert "\n" not in error
    assert server.ask(drawn, "edges.ckpt", False, "deterministic", 0, 1)[0] == 200


def test_files_of_the_machine_cannot_be_read_or_removed(server, checkpoints):
    own = server.temporary.parent / "own.png"  # where the command was started
    Image.fromarray(lines(0)).save(own)
    for path in ("/etc/passwd", str(own), str(checkpoints["edges"]), "http://example.com/picture.png"):
        for route in ("file=", "file/", "proxy=", "stream/", "file=../../../../../../../.."):
            for prefix in ("gradio_api/", "/gradio_api/", "./gradio_api/"):
                assert server.get(f"{prefix}{route}{path}")[0] >= 400, route
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        for sent in (file, [file]):
            refused = 500, "a value of another type than expected"
            assert server.ask(sent, "edges.ckpt", False, "paper", 0, 1) == refused
            assert server.ask(f"drawing {url(lines(0))}", "edges.ckpt", False, "paper", sent, 1) == refused
    assert own.exists()
    assert [path for path in server.temporary.rglob("*") if path.is_file()] == []


def test_request_limits_and_closed_routes(server):
    files = {"Content-Type": "multipart/form-data; boundary=x"}
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\nx\r\n--x--\r\n'
    assert server.get("gradio_api/upload", body, **files) == (403, b"not available")
    for route in ("component_server", "process_recording", "run/answer", "call/answer", "vibe-edit"):
        assert server.get(f"gradio_api/{route}", b"{}", **{"Content-Type": "application/json"})[0] == 403
    connection = http.client.HTTPConnection(server.address[7:-1], timeout=20)
    connection.putrequest("POST", "/gradio_api/queue/join")
    connection.putheader("Content-Length", str(3 * 2**20))  # which is not sent
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (413, b"the request is too large: see max_megabytes")
    connection.close()
    before = server.memory("VmHWM")
    with pytest.raises(OSError):  # noqa: PT011
        server.get("gradio_api/queue/join", (bytes(2**20) for _ in range(2000)), **{"Content-Type": "application/json"})
    assert server.memory("VmHWM") - before < 200
    assert server.get("config")[0] == 200


# ---- in a browser


def open_page(browser, server, **how):
    browser.open(server.address, **how)
    browser.until(lambda: browser.all("#drawing canvas[data-shown]"), 20)


def read_canvas(browser):
    return pixels(browser.run("return document.querySelector('#drawing canvas').toDataURL()"))


def draw_stroke(browser, *points):
    """Draw with the pointer from point to point, relative to the centre of the canvas."""
    canvas = browser.one("#drawing canvas")
    actions = ActionChains(browser.web, duration=20).move_to_element_with_offset(canvas, *points[0]).click_and_hold()
    for point in points[1:]:
        actions.move_to_element_with_offset(canvas, *point)
    actions.release().perform()


def read_files(browser):
    """Return the links to the results."""
    return browser.run("return [...document.querySelectorAll('#results a')].map(link => link.href)")


def wait_for_results(browser, expected, count=1):
    """Wait until the page shows the translation of what is drawn, without anything pressed; return its files."""

    def find():
        shown = read_files(browser)
        return len(shown) == count and (pixels(shown[0]) == expected(read_canvas(browser))).all() and shown

    return browser.until(find, 20)


def choose_model(browser, name):
    browser.one("#model input").click()
    options = "ul[role=listbox] li"
    browser.until(lambda: len(texts(browser, options)) == len(SPECS))
    number = next(number for number, text in enumerate(texts(browser, options)) if name in text)
    browser.all(options)[number].click()


def texts(browser, selector):
    """Return the texts of all matching elements at one moment."""
    return browser.run("return [...document.querySelectorAll(arguments[0])].map(e => e.innerText.trim())", selector)


def press_button(browser, name):
    number = texts(browser, "#drawing button").index(name)
    browser.all("#drawing button")[number].click()


def test_the_translation_follows_the_drawing(browser, server, checkpoints):
    open_page(browser, server)
    translator = Translator(checkpoints["edges"], device="cpu")
    start = read_canvas(browser)
    assert start.shape == (64, 64, 3)
    wait_for_results(browser, translator)
    shown = browser.pixels(browser.one("#results img"))
    assert shown.std() > 10
    draw_stroke(browser, (-150, -150), (100, -120), (150, 100))
    with_line = read_canvas(browser)
    changed = (with_line != start).any(-1)
    assert changed.sum() > 20
    assert not with_line[changed].any()  # black, and nothing between black and white
    wait_for_results(browser, translator)
    assert (browser.pixels(browser.one("#results img")) != shown).any()
    press_button(browser, "Undo")
    assert (read_canvas(browser) == start).all()
    wait_for_results(browser, translator)
    press_button(browser, "Clear")
    assert (read_canvas(browser) == 255).all()
    wait_for_results(browser, translator)
    elsewhere = [a for a in browser.addresses() if not a.startswith((server.address, "data:", "blob:"))]
    assert elsewhere == []
    assert [line for line in browser.complaints() if "favicon" not in line] == []


def test_the_camera_is_translated_until_something_is_drawn(browser, server, checkpoints):
    open_page(browser, server)
    translator = Translator(checkpoints["edges"], device="cpu")
    wait_for_results(browser, translator)
    start = read_canvas(browser)
    press_button(browser, "Camera")
    browser.until(lambda: (read_canvas(browser) != start).any(-1).mean() > 0.9, 20)
    first, files = read_canvas(browser), read_files(browser)
    assert first.shape == (64, 64, 3)
    assert first.std() > 10
    browser.until(lambda: (read_canvas(browser) != first).any() and read_files(browser) != files, 20)  # it is live
    press_button(browser, "Camera")
    wait_for_results(browser, translator)
    press_button(browser, "Undo")
    assert (read_canvas(browser) == start).all()
    choose_model(browser, "labels.ckpt")  # has a palette, whose colours no photo has
    browser.until(lambda: "Camera" not in texts(browser, "#drawing button:not([hidden])"))


def test_a_session_has_one_request_at_a_time(browser, server):
    open_page(browser, server)
    # each request is held for longer than strokes take, so that a second one would be sent meanwhile
    browser.run("""
        window.waiting = window.most = window.sent = 0;
        const real = window.fetch;
        window.fetch = async (address, ...rest) => {
            const isEmpty = String(rest[0]?.body).includes('"data":[]'); // only lets the server send what it has
            if (!String(address).includes("queue/join") || isEmpty) return real(address, ...rest);
            window.sent++;
            window.most = Math.max(window.most, ++window.waiting);
            await new Promise(done => setTimeout(done, 500));
            try { return await real(address, ...rest); } finally { window.waiting--; }
        };
    """)
    for row in range(-140, 140, 20):
        draw_stroke(browser, (-150, row), (150, row))
    browser.until(lambda: browser.run("return window.sent > 2 && window.waiting === 0"), 60)
    assert browser.run("return window.most") == 1


@pytest.mark.parametrize("late", ["process_completed", "close_stream"])
def test_a_model_is_shown_although_an_answer_is_still_ending(browser, server, late):
    open_page(browser, server)
    # over a slow network the page does not know yet that the server has answered, or that no other answer follows
    browser.run(
        """
        const late = arguments[0], real = window.fetch, decoder = new TextDecoder(), encoder = new TextEncoder();
        const delay = async (chunk, controller) => {
            for (const message of decoder.decode(chunk).split(/(?<=\\n\\n)/)) {
                window.isLate ||= message.includes(late);
                if (window.isLate) await new Promise(done => setTimeout(done, 1500));
                controller.enqueue(encoder.encode(message));
            }
        };
        window.fetch = async (address, ...rest) => {
            const answer = await real(address, ...rest);
            if (!(address.url || String(address)).includes("queue/data")) return answer;
            return new Response(answer.body.pipeThrough(new TransformStream({transform: delay})), answer);
        };
        """,
        late,
    )
    press_button(browser, "Clear")
    browser.until(lambda: browser.run("return window.isLate"), 20)
    choose_model(browser, "labels.ckpt")
    browser.until(lambda: "pen" not in texts(browser, "#drawing .brushes button"), 30)
    assert texts(browser, "#drawing .brushes button") == list(PALETTE)


def test_page_cannot_fetch_from_other_servers(browser, server):
    open_page(browser, server)
    for fetching in (
        "return fetch('http://192.0.2.1/').then(() => 'came', () => 'refused')",
        "return new Promise(told => { const i = new Image(); i.onload = () => told('came'); "
        "i.onerror = () => told('refused'); i.src = 'http://192.0.2.1/a.png'; })",
    ):
        assert browser.run(fetching) == "refused"
    assert not any("192.0.2.1" in address for address in browser.addresses())


def test_download_is_the_file(browser, server, checkpoints, tmp_path):
    open_page(browser, server)
    (made,) = wait_for_results(browser, Translator(checkpoints["edges"], device="cpu"))
    browser.web.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    link = browser.one("#results a")
    assert link.text == "Download PNG"
    link.click()
    file = tmp_path / "drawing.png"
    browser.until(lambda: file.exists() and file.stat().st_size and not list(tmp_path.glob("*.crdownload")))
    assert file.read_bytes() == base64.b64decode(made.partition(",")[2])


def test_labels_are_painted_by_name(browser, server, checkpoints):
    open_page(browser, server)
    choose_model(browser, "labels.ckpt")
    browser.until(lambda: texts(browser, "#drawing .brushes button") == list(PALETTE))
    browser.until(lambda: (read_canvas(browser)[0, 0] == PALETTE["background"]).all())
    press_button(browser, "door")
    draw_stroke(browser, (-100, -100), (50, 50))  # a rectangle
    painted = read_canvas(browser)
    assert (painted[20:35, 20:35] == PALETTE["door"]).all()
    assert {tuple(colour) for colour in painted.reshape(-1, 3).tolist()} <= set(PALETTE.values())
    press_button(browser, "Boxes")
    press_button(browser, "shop")
    draw_stroke(browser, (-150, -150), (150, -140))
    painted = read_canvas(browser)
    assert (painted == PALETTE["shop"]).all(-1).sum() > 50
    assert {tuple(colour) for colour in painted.reshape(-1, 3).tolist()} <= set(PALETTE.values())
    wait_for_results(browser, Translator(checkpoints["labels"], device="cpu"))


def test_samples_of_mode_paper(browser, server):
    open_page(browser, server)
    browser.run("document.querySelector('#settings button').click()")
    browser.until(lambda: browser.all("input[value=paper]"))[0].click()
    number = browser.until(lambda: browser.all("input[type=number][aria-label*=Samples]"))[0]
    browser.run("arguments[0].value = 3; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))", number)
    made = browser.until(lambda: len(found := read_files(browser)) == 3 and found, 20)
    assert len(set(made)) == 3
    assert [a.get_attribute("download") for a in browser.all("#results a")] == [
        f"drawing.sample_{number}.png" for number in range(3)
    ]


def test_uploads_appear_on_the_canvas_and_errors_as_a_line(browser, server, tmp_path):
    open_page(browser, server)
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    (tmp_path / "notes.png").write_text("taken in May")
    (tmp_path / "large.png").write_bytes(bytes(10 * 2**20))
    field = browser.one("#drawing input[type=file]")
    for name, line in (
        ("notes.png", "the file cannot be decoded as an image"),
        ("large.png", "the file has 10.0 MB, more than max_megabytes=1"),
    ):
        field.send_keys(str(tmp_path / name))
        said = browser.until(lambda: [text for text in texts(browser, ".toast-body") if text])
        assert line in said[0]
        browser.one(".toast-close").click()
        browser.until(lambda: not browser.all(".toast-body"))
    browser.run("document.querySelector('#settings button').click()")
    browser.until(lambda: browser.all("#resize input"))[0].click()
    field.send_keys(str(tmp_path / "picture.png"))
    browser.until(lambda: read_canvas(browser).shape == (40, 60, 3))
    assert (read_canvas(browser) == picture).all()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_layout_fits_the_window(browser, server, width, scheme):
    open_page(browser, server, width=width, scheme=scheme)
    assert browser.run("return document.documentElement.scrollWidth") <= width
    for element in browser.all("#drawing button, #drawing canvas, #results"):
        box = element.rect
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    dark = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert (np.mean([int(v) for v in re.findall(r"\d+", dark)[:3]]) < 60) == (scheme == "dark")


def test_ctrl_c_stops_the_server_and_leaves_no_files(server):
    """The last test, since it stops the server of the module."""
    assert server.stop() == (130, "stopped\n")
    assert list(server.temporary.iterdir()) == []


@pytest.mark.slow
def test_memory_is_bounded_with_a_full_network(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")  # else glibc's arenas grow for a while, each to what a thread once took
    checkpoint = save(tmp_path / "full.ckpt", PairSpec(), base_channels=64, num_downs=8)
    server = DemoProcess(tmp_path, f"checkpoint={checkpoint}")
    try:
        assert ask_at_once(server, [lines(0, 256)], "full.ckpt")[0][0] == 200
        for before in range(0, 200, 20):
            most, start = server.memory("VmHWM"), time.perf_counter()
            answers = ask_at_once(server, [lines(seed, 256) for seed in range(before, before + 20)], "full.ckpt")
            seconds, growth = time.perf_counter() - start, server.memory("VmHWM") - most
            assert [status for status, _ in answers] == [200] * 20
            with capsys.disabled():
                print(f"\n20 at once: {seconds:.1f} s; {most:.0f} MiB before, at most {growth:.0f} MiB more", end="")
            if before == 100:  # by now the pictures of as many visitors are kept as ever are
                complete_job_config = server.memory("VmHWM")
        assert server.memory("VmHWM") - complete_job_config < 100
    finally:
        assert server.stop(signal.SIGTERM)[0] == 130
