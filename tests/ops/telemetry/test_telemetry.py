"""Errors and traces, as Sentry and an OpenTelemetry collector receive them."""

import gzip
import os
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

NAME = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["name"]
VARIABLES = ("SENTRY_DSN", "SENTRY_DSN_FILE", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SERVICE_NAME")
ANSWER = """
import logging
from wsgiref.util import setup_testing_defaults
from config.wsgi import application

for path, host in ("/livez", "localhost"), ("/favicon.ico", "localhost"), ("/", "not.allowed"):
    environ = {"PATH_INFO": path, "HTTP_HOST": host, "HTTP_X_REQUEST_ID": "the-one-id"}
    setup_testing_defaults(environ)
    application(environ, lambda *_: None)
logging.getLogger("tests").error("this is broken")
"""


class Collector(ThreadingHTTPServer):
    """A stand-in for Sentry and the collector. `received` maps the last part of a path to the bodies sent there."""

    def __init__(self) -> None:
        self.received: dict[str, bytes] = {}
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        name = self.path.strip("/").rpartition("/")[2]
        self.server.received[name] = self.server.received.get(name, b"") + body
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        threading.Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()


def run(code: str, **variables: str) -> None:
    """Run `code` in a separate process, where warnings are errors."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment | variables, check=True, timeout=300)  # noqa: S603


def test_errors_and_traces_arrive(collector: Collector) -> None:
    port = collector.server_port
    run(
        ANSWER,
        SENTRY_DSN=f"http://key@127.0.0.1:{port}/1",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}",
    )
    assert set(collector.received) == {"envelope", "traces"}
    assert b"this is broken" in collector.received["envelope"]
    assert b"not.allowed" not in collector.received["envelope"], "anyone can send what is refused"
    assert NAME.encode() in collector.received["traces"]
    assert b"favicon.ico" in collector.received["traces"]
    assert b"livez" not in collector.received["traces"]
    for kind in ("envelope", "traces"):
        assert b"the-one-id" in collector.received[kind], "the logs, the error and the trace have one id"
