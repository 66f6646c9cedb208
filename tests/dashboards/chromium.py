"""A Chromium without a window, driven through the DevTools protocol on a pipe: nothing but the standard library."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager

import pytest


class Browser:
    """One page. `console` holds every error the page logged or threw, `requests` every address it asked for."""

    def __init__(self, write_fd, read_fd):
        self._out = os.fdopen(write_fd, "wb", buffering=0)
        self._in = os.fdopen(read_fd, "rb")
        self._number, self._session = 0, None
        self.console, self.requests = [], []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        return self._until(lambda answer: answer.get("id") == self._number)["result"]

    def _until(self, wanted):
        while True:
            answer = self._read()
            if wanted(answer):
                assert "error" not in answer, answer
                return answer
            self._note(answer)

    def _read(self):
        data = bytearray()
        while (byte := self._in.read(1)) != b"\0":
            assert byte, "the browser is gone"
            data += byte
        return json.loads(data)

    def _note(self, event):
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.console.append(params["exceptionDetails"])
            case "Runtime.consoleAPICalled" if params["type"] in {"error", "warning", "assert"}:
                self.console.append(params["args"])
            case "Log.entryAdded" if params["entry"]["level"] in {"error", "warning"}:
                self.console.append(params["entry"])
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])

    def open(self, path, width, height, scheme="light", *, has_script=True):
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.console.clear()
        self.requests.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        if has_script:
            self.drawn(scheme)
        else:
            self.wait(f"document.readyState === 'complete' && location.href === '{path.resolve().as_uri()}'")

    def drawn(self, scheme):
        """Wait, in the page, until everything is drawn in that scheme."""
        self.wait(f"document.readyState === 'complete' && document.documentElement.dataset.drawn === '{scheme}'")

    def wait(self, expression):
        """Wait, in the page, until an expression is true; return it."""
        return self.value(
            f"new Promise(done => {{ const look = () => {{ const found = {expression};"
            " found ? done(found) : requestAnimationFrame(look); }; look(); })"
        )

    def value(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key):
        code = {"Tab": 9, "Enter": 13}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            extra = text if kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **extra)


def axe_script(folder):
    """The source of axe-core; skips, loudly, where it cannot be had."""
    npm = shutil.which("npm")
    got = npm and subprocess.run(
        [npm, "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder, "axe-core@4"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not got or not script.is_file():
        pytest.skip("NO AXE: npm is missing or offline; contrast and keyboard are held to other tests")
    return script.read_text()


def violations(page, axe):
    """What axe finds wrong with the open page: rule, and the elements."""
    page.value(axe + "; 0")
    rules = "{runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']}"
    told = "r => r.violations.map(v => [v.id, v.nodes.map(n => n.html.slice(0, 120))])"
    return page.value(f"axe.run(document, {rules}).then({told})")


@contextmanager
def browser():
    """Give a Browser; skip, loudly, where there is no Chromium."""
    binary = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if binary is None:
        message = "NO CHROMIUM: the preview is not looked at in a browser; apt-get install chromium"
        sys.stderr.write(f"\n{message}\n")
        pytest.skip(message)
    to_browser, our_write = os.pipe()
    our_read, from_browser = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # Chromium speaks the protocol on descriptors 3 and 4; the shell puts them there.
        flags = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --remote-debugging-pipe"
        command = f"exec {binary} {flags} --user-data-dir={profile} 3<&{to_browser} 4>&{from_browser}"
        with subprocess.Popen(
            ["bash", "-c", command], pass_fds=(to_browser, from_browser), stderr=subprocess.DEVNULL
        ) as process:
            os.close(to_browser)
            os.close(from_browser)
            page = Browser(our_write, our_read)
            try:
                yield page
            finally:
                page._out.close()
                page._in.close()
                process.kill()
