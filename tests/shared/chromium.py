"""Chromium without a window, steered through its debugging pipe: pages are used and looked at as a person does."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager
from queue import Queue
from typing import Any

from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
)  # fmt: skip
_SECONDS = 120
_ENDS = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")


class Tab:
    """One page of a browser.

    Args:
        browser: The browser.
        session: Its session with the page.
    """

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session
        for domain in ("Page", "Runtime", "Log", "DOM", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the debugging protocol."""
        return self._browser.call(method, parameters, self._session)

    def open(self, address: str) -> None:
        """Go to an address and wait until it is loaded."""
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def look(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Set the window's size in pixels, and whether the reader prefers it dark."""
        phone = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )

    def evaluate(self, expression: str) -> Any:
        """What an expression of JavaScript gives, as JSON; promises are waited for."""
        reply = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in reply:
            raise AssertionError(reply["exceptionDetails"].get("exception", {}).get("description", reply))
        return reply["result"].get("value")

    def wait(self, expression: str) -> None:
        """Wait until an expression is true."""
        until = time.monotonic() + _SECONDS
        while not self.evaluate(f"Promise.resolve({expression}).then(Boolean)"):
            if time.monotonic() > until:
                raise AssertionError(f"never came true: {expression}; the page says:\n{self.text('body')}")
            time.sleep(0.1)

    def text(self, selector: str) -> str:
        """What a reader sees of an element."""
        return self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")

    def click(self, selector: str) -> None:
        """Click an element where it is, as a mouse does."""
        box = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
            "e.scrollIntoView({block: 'center', behavior: 'instant'}); const b = e.getBoundingClientRect(); "
            "return [b.x + b.width / 2, b.y + b.height / 2] })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press a key such as ``Tab`` or ``Enter``."""
        codes = {"Tab": 9, "Enter": 13}
        text = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, windowsVirtualKeyCode=codes[key], **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=codes[key])

    def choose_file(self, selector: str, path: os.PathLike[str]) -> None:
        """Give a file to a file input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[os.fspath(path)])

    def picture(self, *, whole: bool = True) -> Image.Image:
        """A picture of the page, or of what its window shows."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"clip": {**size, "scale": 1}} if whole else {}
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **clip)["data"]
        return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")

    @property
    def complaints(self) -> list[str]:
        """What the page threw or wrote to the console, what of it could not be loaded or broke a rule."""
        return [json.dumps(event["params"]) for event in self._browser.events if event["method"] in _ENDS]

    @property
    def addresses(self) -> list[str]:
        """What the page asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self._browser.events
            if event["method"] == "Network.requestWillBeSent"
        ]


class Browser:
    """A running Chromium."""

    def __init__(self, commands: int, replies: int) -> None:
        self._commands, self._replies = commands, replies
        self._number, self._waiting = 0, {}
        self.events: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def tab(self) -> Tab:
        """A new page."""
        self.events.clear()
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        return Tab(self, self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"])

    def call(self, method: str, parameters: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        """Call a method of the debugging protocol."""
        self._number += 1
        waiting = self._waiting[self._number] = Queue()
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        content = json.dumps(message).encode() + b"\0"
        while content:
            content = content[os.write(self._commands, content) :]
        reply = waiting.get(timeout=_SECONDS)
        if "error" in reply:
            raise AssertionError(f"{method}: {reply['error']}")
        return reply["result"]

    def _read(self) -> None:
        rest = b""
        while piece := os.read(self._replies, 2**20):
            *messages, rest = (rest + piece).split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    self._waiting.pop(message["id"]).put(message)
                else:
                    self.events.append(message)


@contextmanager
def browsing(folder: os.PathLike[str], *flags: str):
    """A browser whose profile lies in a folder."""
    their_commands, commands = os.pipe()
    replies, their_replies = os.pipe()
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={os.fspath(folder)}", *flags, "about:blank"]
    pipes = f'exec "$@" 3<&{their_commands} 4>&{their_replies}'  # where Chromium looks for them
    process = subprocess.Popen(
        ["bash", "-c", pipes, "bash", *command],
        pass_fds=(their_commands, their_replies),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(their_commands)
    os.close(their_replies)
    browser = Browser(commands, replies)
    try:
        yield browser
        browser.call("Browser.close", {})
        process.wait(30)
    finally:
        process.kill()
        process.wait()
        os.close(commands)
        os.close(replies)
