"""A client of the Debug Adapter Protocol, which editors speak with debugpy: just enough for one breakpoint."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

from tests.support.project import PATIENCE


class Debugger:
    """A session with debugpy, attached to one process of the site."""

    def __init__(self, port: int, attach: dict[str, Any], seconds: float = PATIENCE) -> None:
        """Attach to a published port, with the arguments of launch.json; OSError if nothing listens there."""
        self.deadline = time.monotonic() + seconds
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        self.file = self.socket.makefile("rwb")
        self.number = 0
        self.attach = attach
        self.seen: list[dict[str, Any]] = []
        self.send("initialize", adapterID="debugpy", pathFormat="path")
        self.wait("response", "initialize")
        self.send("attach", **attach)
        self.wait("event", "initialized")

    def send(self, command: str, **arguments: Any) -> None:
        """Send a request."""
        self.number += 1
        request = {"seq": self.number, "type": "request", "command": command, "arguments": arguments}
        body = json.dumps(request).encode()
        self.file.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.file.flush()

    def wait(self, kind: str, name: str) -> dict[str, Any]:
        """Return the next response or event of this name; AssertionError if it does not come in time."""
        while True:
            for message in self.seen:
                if message["type"] == kind and name in (message.get("event"), message.get("command")):
                    self.seen.remove(message)
                    assert message.get("success", True), message
                    return message
            assert time.monotonic() < self.deadline, self.seen
            length = 0
            while line := self.file.readline().strip():
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            assert length, f"debugpy hung up; before, it sent {self.seen}"
            self.seen.append(json.loads(self.file.read(length)))

    def break_at(self, path: str, line: int) -> None:
        """Set a breakpoint in a file of the container, and let the process run."""
        self.send("setBreakpoints", source={"path": path}, breakpoints=[{"line": line}])
        self.wait("response", "setBreakpoints")
        self.send("configurationDone")
        self.wait("response", "attach")

    def evaluate(self, expression: str) -> str:
        """Wait for the breakpoint, and return the value of an expression there; then let the process go on."""
        thread = self.wait("event", "stopped")["body"]["threadId"]
        self.send("stackTrace", threadId=thread)
        frame = self.wait("response", "stackTrace")["body"]["stackFrames"][0]["id"]
        self.send("evaluate", expression=expression, frameId=frame)
        value = str(self.wait("response", "evaluate")["body"]["result"])
        self.send("continue", threadId=thread)
        self.wait("response", "continue")
        return value

    def child(self, port: int) -> Debugger:
        """Return a session with the process that this one has started: runserver has the site in a second one."""
        arguments = self.wait("event", "debugpyAttach")["body"]
        return Debugger(port, {**arguments, "connect": {"host": "127.0.0.1", "port": port}})

    def close(self) -> None:
        """Detach."""
        self.socket.close()
