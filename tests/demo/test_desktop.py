"""Whether and how a browser is opened."""

import threading
import webbrowser

import pytest

from pix2pix_lightning.demo import desktop


@pytest.mark.parametrize(
    ("variables", "browser", "opens"),
    [
        ({}, webbrowser.BackgroundBrowser("firefox"), False),  # no display
        ({"DISPLAY": ":0"}, webbrowser.BackgroundBrowser("firefox"), True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, webbrowser.BackgroundBrowser("firefox"), True),
        ({"DISPLAY": ":0"}, webbrowser.GenericBrowser("lynx"), False),  # it would take the terminal
        ({"DISPLAY": ":10", "SSH_CONNECTION": "x"}, webbrowser.BackgroundBrowser("firefox"), False),
    ],
)
def test_auto_opens_a_browser_on_a_desktop_alone(monkeypatch, variables, browser, opens):
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(webbrowser, "get", lambda: browser)
    assert desktop.should_open("auto") is opens
    assert desktop.should_open(True)
    assert not desktop.should_open(False)


@pytest.mark.parametrize("setting", ["yes", 1, None])
def test_other_settings_are_refused(setting):
    with pytest.raises(ValueError, match=f"open_browser={setting}"):
        desktop.should_open(setting)


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "http://127.0.0.1:80"), ("0.0.0.0", "http://localhost:80"), ("::1", "http://[::1]:80")],
)
def test_a_browser_that_hangs_or_fails_does_not_hold_the_server(monkeypatch, host, address):
    release, asked = threading.Event(), []

    def hang(url):
        asked.append(url)
        release.wait(10)
        raise webbrowser.Error

    monkeypatch.setattr(webbrowser, "open", hang)
    desktop.open_page(host, 80)
    release.set()
    for thread in threading.enumerate():
        if thread.name == "browser":
            thread.join()
    assert asked == [address]
