"""A headless Chromium, driven over the DevTools protocol."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_WAIT_S = 30.0

OUTPUT = "document.querySelector('#output').textContent"
"""Scripts of what the page shows."""
MESSAGE = "document.querySelector('#message').hidden ? '' : document.querySelector('#message').textContent"


def value(selector: str) -> str:
    """The script of a field's value."""
    return f"document.querySelector('{selector}').value"


class Page:
    """One tab."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._calls = 0
        self.events: list[dict[str, Any]] = []
        """All events so far: network requests, console messages, exceptions."""

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Call a method of the protocol; returns its result."""
        self._calls += 1
        self._socket.send(json.dumps({"id": self._calls, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=_WAIT_S))
            if message.get("id") == self._calls:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self.events.append(message)

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, script: str) -> Any:
        """The value of an expression once it is true."""
        end = time.monotonic() + _WAIT_S
        while True:
            value = self.evaluate(script)
            if value:
                return value
            assert time.monotonic() < end, (
                f"{script} did not become true: {self.evaluate('document.body.innerText')}"
            )
            time.sleep(0.02)

    def open(self, url: str) -> None:
        """Load a page, and wait until it is ready."""
        self.call("Page.navigate", url=url)
        self.wait(
            "document.readyState === 'complete' && document.querySelector('#target')?.options.length > 0"
        )

    def type(self, text: str) -> None:
        """Type into the element that has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key: str, modifiers: int = 0) -> None:
        """Press a key; modifiers: 1 Alt, 2 Ctrl, 4 Meta, 8 Shift."""
        codes = {"Enter": 13, "Escape": 27}
        key_code = codes.get(key, ord(key.upper()[0]))
        for kind in ("rawKeyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key if key in codes else f"Key{key.upper()}",
                windowsVirtualKeyCode=key_code,
                modifiers=modifiers,
            )

    def drop(self, file: Path, selector: str) -> None:
        """Drag a file from the desktop, and let it go over the middle of an element."""
        middle = "(({left, top, width, height}) => [left + width / 2, top + height / 2])"
        box = f"document.querySelector('{selector}').getBoundingClientRect()"
        x, y = self.evaluate(f"{middle}({box})")
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def choose(self, file: Path, selector: str) -> None:
        """Choose a file in a field for files."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def downloads(self, directory: Path) -> None:
        """Save what is downloaded from now on into ``directory``."""
        self.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(directory))

    def screenshot(self, path: Path) -> None:
        """Write a PNG of what is visible."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def requests(self) -> list[str]:
        """URLs of all requests so far."""
        self.evaluate("0")  # receives what has come
        sent = [event for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    def faults(self) -> list[str]:
        """Exceptions and errors on the console so far, violations of the content security policy among them."""
        self.evaluate("0")
        found = []
        for event in self.events:
            if event["method"] == "Runtime.exceptionThrown":
                found.append(str(event["params"]["exceptionDetails"]))
            if event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
                found.append(event["params"]["entry"]["text"])
        return found


@contextmanager
def chromium(directory: Path) -> Iterator[Page]:
    """A browser with one tab, whose profile is in ``directory``."""
    assert CHROMIUM is not None
    arguments = (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--remote-debugging-port=0",
        "--mute-audio",
    )
    process = subprocess.Popen(
        [CHROMIUM, *arguments, f"--user-data-dir={directory}", "--window-size=1200,800", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port = _port(directory / "DevToolsActivePort")
        tabs = httpx.get(f"http://127.0.0.1:{port}/json/list").json()
        url = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        with connect(url, max_size=None) as socket:
            page = Page(socket)
            for domain in ("Page", "Runtime", "Network", "Log"):
                page.call(f"{domain}.enable")
            yield page
    finally:
        process.terminate()
        process.wait(timeout=_WAIT_S)


def _port(file: Path) -> int:
    end = time.monotonic() + _WAIT_S
    while not (file.exists() and file.read_text().strip()):
        assert time.monotonic() < end, "Chromium did not start"
        time.sleep(0.02)
    return int(file.read_text().split()[0])
