"""A headless Chromium for the tests of pages."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.support.wait import WebDriverWait

_OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --force-device-scale-factor=1 "
    "--use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
)


@contextmanager
def chromium(profile: Path) -> Iterator["Browser"]:
    """A browser with an empty profile; the test is skipped where there is none."""
    driver, program = shutil.which("chromedriver"), shutil.which("chromium")
    if driver is None or program is None:
        pytest.skip("there is no chromium with chromedriver: apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for option in [*_OPTIONS.split(), f"--user-data-dir={profile}"]:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    web = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield Browser(web)
    finally:
        web.quit()


class Browser:
    """What the tests of pages do with a browser.

    Attributes:
        web: Selenium's driver, for everything else.
    """

    def __init__(self, web):
        self.web = web

    def open(self, page: Path | str, *, width=1280, height=900, media="screen", scheme="light", script=True):
        """Load a file or an address, in a window of a size, on a medium, in a colour scheme, with JavaScript or not."""
        self.web.get("about:blank")
        self._log("performance"), self._log("browser")
        self._tell("Emulation.setScriptExecutionDisabled", value=not script)
        self._tell(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._tell("Emulation.setEmulatedMedia", media=media, features=features)
        self.web.get(page if isinstance(page, str) else page.resolve().as_uri())

    def run(self, script: str, *arguments):
        """The value that JavaScript returns."""
        return self.web.execute_script(script, *arguments)

    def all(self, selector: str):
        """The elements that a selector finds."""
        return self.web.find_elements("css selector", selector)

    def one(self, selector: str):
        """The only element that a selector finds."""
        (element,) = self.all(selector)
        return element

    def press(self, *keys: str):
        """Keys, wherever the focus is."""
        ActionChains(self.web).send_keys(*keys).perform()

    def focused(self):
        """The element that has the focus."""
        return self.web.switch_to.active_element

    def pixels(self, element) -> np.ndarray:
        """What is to be seen of an element, (H, W, 3)."""
        return np.asarray(Image.open(BytesIO(element.screenshot_as_png)).convert("RGB"))

    def until(self, condition, seconds=5.0):
        """Wait until a function returns something true, and return that."""
        return WebDriverWait(self.web, seconds, poll_frequency=0.05).until(lambda _: condition())

    def addresses(self) -> list[str]:
        """Everything that was fetched since the page was opened, and what failed, but for what its policy forbade."""
        messages = [json.loads(entry["message"])["message"] for entry in self._log("performance")]
        asked = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        failed = [m["params"] for m in messages if m["method"] == "Network.loadingFailed"]
        forbidden = {failure["requestId"] for failure in failed if failure.get("blockedReason") == "csp"}
        return [request["request"]["url"] for request in asked if request["requestId"] not in forbidden]

    def complaints(self) -> list[str]:
        """What stands in the console since the page was opened."""
        return [entry["message"] for entry in self._log("browser")]

    def _log(self, kind):
        return self.web.get_log(kind)

    def _tell(self, command, **arguments):
        self.web.execute_cdp_cmd(command, arguments)
