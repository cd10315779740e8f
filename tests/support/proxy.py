"""A company's proxy on this machine, which notes where its clients go."""

from __future__ import annotations

import select
import socket
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

HOP = {"host", "proxy-connection", "connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass
class Proxy:
    """A proxy at `address`, for plain HTTP and for tunnels; use it as a context manager."""

    address: str
    asked: set[tuple[str, str]] = field(default_factory=set)  #: (the method or CONNECT, the host)

    def __enter__(self) -> Proxy:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_CONNECT(self) -> None:
                host, _, port = self.path.rpartition(":")
                proxy.asked.add((self.command, host))
                self.close_connection = True
                try:
                    away = socket.create_connection((host, int(port)), 30)
                except OSError:
                    self.send_error(502)
                    return
                with away:
                    self.send_response(200)
                    self.end_headers()
                    relay(self.connection, away)

            def do_GET(self) -> None:
                proxy.asked.add((self.command, urlsplit(self.path).hostname or ""))
                forward(self)

            def do_HEAD(self) -> None:
                self.do_GET()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer((self.address, 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        """The proxy's URL."""
        return f"http://{self.address}:{self.server.server_port}"


def relay(one: socket.socket, other: socket.socket) -> None:
    """Pass on what each of two connections sends, until one of them ends."""
    while True:
        readable, _, _ = select.select([one, other], [], [], 120)
        for each in readable:
            data = each.recv(65536)
            if not data:
                return
            (other if each is one else one).sendall(data)
        if not readable:
            return


def forward(request: BaseHTTPRequestHandler) -> None:
    """Answer a request for another server with that server's answer."""
    headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP}
    asked = urllib.request.Request(request.path, headers=headers, method=request.command)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        answer = opener.open(asked, timeout=60)
    except urllib.error.HTTPError as error:
        answer = error
    except OSError:
        request.send_error(502)
        return
    with answer:
        body = answer.read()
    request.send_response(answer.status)
    for name, value in answer.headers.items():
        if name.lower() not in HOP:
            request.send_header(name, value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    if request.command == "GET":
        request.wfile.write(body)
