"""A hundred simultaneous slow clients do not keep the deployed site from answering others.

This does not cover bodies above 1 MiB: to limit its memory, the proxy passes them on while they arrive.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
from pytest_copie.plugin import Copie

from tests.engine import Engine, ensure_image
from tests.support import matrix
from tests.support.matrix import Combination
from tests.support.production import Production, any_certificate
from tests.support.project import clean_up, free_port, make_project

pytestmark = pytest.mark.rotates(seconds=60, touched_by=["*Caddyfile*", "template/ops/*", "hooks/docker/*"])

CLIENTS = 100
# A browser's request to the login page: CsrfViewMiddleware accepts the headers and reads the body.
FORM = (
    "POST /admin/login/ HTTP/1.1\r\nHost: localhost:{port}\r\nReferer: https://localhost:{port}/admin/login/\r\n"
    "Cookie: csrftoken={token}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n"
)
# kind -> the first bytes of each client; after them it sends a byte per second, and reads nothing.
KINDS = {
    "header": "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    "small body": FORM.format(port="{port}", token="c" * 32, length=10_000),
    "body of 1 MB": FORM.format(port="{port}", token="c" * 32, length=1_000_000) + "x" * 900_000,
    "response": "GET /static/admin/js/vendor/jquery/jquery.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20,
}


@pytest.fixture(scope="module")
def site(copie_session: Copie, engine: Engine) -> Iterator[Production]:
    """A deployed site with the default answers."""
    ensure_image(engine, "caddy:2")
    combination = Combination("slipway-slow", matrix.default_combination().answers)
    project = make_project(copie_session, engine, combination)
    production = Production(project, free_port(), free_port())
    production.configure(70)
    production.make("secrets")
    production.deploy_commit()
    yield production
    production.remove()
    clean_up(project)


def attack(site: Production, opening: bytes, stack: ExitStack) -> None:
    """Open CLIENTS connections that each send `opening` and then a byte a second, until `stack` ends."""
    context = any_certificate()
    over = threading.Event()
    clients: list[ssl.SSLSocket] = []

    def drip() -> None:
        while not over.wait(1):
            for client in clients:
                with suppress(OSError):
                    client.send(b"x")

    for _ in range(CLIENTS):
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # small, so that an unread response soon blocks
        raw.settimeout(20)
        raw.connect(("localhost", site.https_port))
        client = stack.enter_context(context.wrap_socket(raw, server_hostname="localhost"))
        with suppress(OSError):
            client.sendall(opening)
        clients.append(client)
    thread = threading.Thread(target=drip)
    thread.start()
    stack.callback(thread.join)
    stack.callback(over.set)


@pytest.mark.parametrize("kind", KINDS)
def test_the_site_answers_others(kind: str, site: Production) -> None:
    opening = KINDS[kind].replace("{port}", str(site.https_port)).encode()
    with ExitStack() as stack:
        attack(site, opening, stack)
        start = time.monotonic()
        for path in ["/livez", "/", "/admin/login/"] * 10:
            assert site.status(path, timeout=5) == 200, f"{path}, while {CLIENTS} clients are slow with their {kind}"
        # A slow client would occupy a thread for a minute.
        assert time.monotonic() - start < 20
