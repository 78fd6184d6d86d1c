"""Headless Chromium, driven by its own protocol: what the book's test reads pages with."""

import json
import shutil
import subprocess
from time import sleep
from urllib.request import urlopen

from websocket import create_connection

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
FLAGS += "--disable-background-networking --disable-component-update --remote-debugging-port=0"


def program():
    """The path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page; `faults` are its errors so far, and what it asks other hosts than `base` for."""

    def __init__(self, profile, base):
        command = [program(), *FLAGS.split(), f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.base, self.faults, self.events, self.number = base, [], set(), 0
        port = profile / "DevToolsActivePort"
        while not (port.exists() and "\n" in port.read_text()):
            assert self.process.poll() is None, "Chromium does not start"
            sleep(0.1)
        with urlopen(f"http://127.0.0.1:{port.read_text().split()[0]}/json") as answer:
            (url, *_) = [
                p["webSocketDebuggerUrl"] for p in json.load(answer) if p["type"] == "page"
            ]
        self.socket = create_connection(url, suppress_origin=True, timeout=60)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while (answer := self._next()).get("id") != self.number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def _next(self):
        message = json.loads(self.socket.recv())
        event, found = message.get("method", ""), message.get("params", {})
        self.events.add(event)
        asked = found["request"]["url"] if event == "Network.requestWillBeSent" else self.base
        if not asked.startswith((self.base, "data:")):
            self.faults.append(f"asks for {asked}")
        level = found.get("entry", {}).get("level", found.get("type"))
        if event == "Runtime.exceptionThrown" or level in ("error", "assert"):
            self.faults.append(json.dumps(found)[:400])
        return message

    def open(self, page, width=1280):
        """Load a page and wait until it says so."""
        self.resize(width)
        self.events.clear()
        self.call("Page.navigate", url=self.base + page)
        while "Page.loadEventFired" not in self.events:
            self._next()

    def resize(self, width):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def ask(self, expression):
        """Return the value of an expression of JavaScript, or of its promise."""
        asked = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        answer = self.call("Runtime.evaluate", **asked)
        assert "exceptionDetails" not in answer, answer
        return answer["result"]["value"]
