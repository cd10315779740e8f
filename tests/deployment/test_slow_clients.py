"""A hundred simultaneous slow clients do not keep the deployed site from answering others."""

from __future__ import annotations

import socket
import ssl
import statistics
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
from tests.support.project import clean_up, free_port, make_project, until

pytestmark = pytest.mark.rotates(seconds=90, touched_by=["*Caddyfile*", "template/ops/*", "hooks/docker/*"])

CLIENTS = 100
PATHS = ["/livez", "/", "/admin/login/"]
# A browser's request to the login page: CsrfViewMiddleware accepts the headers and reads the body.
FORM = (
    "POST /admin/login/ HTTP/1.1\r\nHost: localhost:{port}\r\nReferer: https://localhost:{port}/admin/login/\r\n"
    f"Cookie: csrftoken={'c' * 32}\r\nContent-Type: {{type}}\r\nContent-Length: {{length}}\r\n\r\n"
)
UPLOAD = '--x\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n\r\n' + "x" * 2_000_000
# kind -> the first bytes of each client; after them it sends a byte per second, and reads nothing.
KINDS = {
    "header": "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    "small body": FORM.format(port="{port}", type="application/x-www-form-urlencoded", length=10_000),
    # Not a form with fields only: Django would refuse its length.
    "large body": FORM.format(port="{port}", type="multipart/form-data; boundary=x", length=9_900_000) + UPLOAD,
    "page": "GET /large/page/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "stream": "GET /large/stream/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "file": "GET /large/file/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
}
# Pages of 20 MB, more than what lies between the site and its client can hold.
PAGES = """
from tempfile import TemporaryFile

from django.http import FileResponse, HttpResponse, StreamingHttpResponse


def large_file(request):
    file = TemporaryFile()
    file.truncate(20_000_000)
    return FileResponse(file)


urlpatterns += [
    path("large/page/", lambda request: HttpResponse(b"x" * 20_000_000)),
    path("large/stream/", lambda request: StreamingHttpResponse(b"x" * 10_000 for _ in range(2_000))),
    path("large/file/", large_file),
]
"""


@pytest.fixture(scope="module")
def site(copie_session: Copie, engine: Engine) -> Iterator[Production]:
    """A deployed site with the default answers."""
    ensure_image(engine, "caddy:2")
    combination = Combination("slipway-slow", matrix.default_combination().answers)
    project = make_project(copie_session, engine, combination)
    urls = project.path / "config" / "urls.py"
    urls.write_text(urls.read_text(encoding="utf-8") + PAGES, encoding="utf-8")
    project.commit("Add large pages")
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
        raw.settimeout(60)
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
        # Wait until the site has worked off the first burst. What a slow client holds, it holds for longer.
        until(lambda: all(site.status(path, timeout=5) == 200 for path in PATHS))
        times = []
        for path in PATHS * 20:
            start = time.monotonic()
            assert site.status(path, timeout=60) == 200, f"{path}, while {CLIENTS} clients are slow with their {kind}"
            times.append(time.monotonic() - start)
        longest = sorted(times)[-2]
        print(f"{kind}: median {statistics.median(times) * 1000:.0f} ms, second longest {longest * 1000:.0f} ms")
        # A thread that a slow client occupies is not free for 20 seconds.
        assert longest < 10
        assert site.compose("ps", "--status", "running", "--quiet", "web", "caddy").count("\n") == 2
    state = site.project.inspect(site.compose("ps", "--quiet", "web").strip())
    assert state["RestartCount"] == 0, "it ran out of memory"


def test_an_upload_may_take_its_time(site: Production) -> None:
    def body() -> Iterator[bytes]:
        yield UPLOAD.encode()
        for _ in range(12):
            time.sleep(2)
            yield b"x" * 100_000
        yield b"\r\n--x--\r\n"

    headers = {
        "Content-Type": "multipart/form-data; boundary=x",
        "Referer": f"https://localhost:{site.https_port}/admin/login/",
        "Cookie": f"csrftoken={'c' * 32}",
    }
    # It arrives completely: the site reads it, and then rejects it, because it has no CSRF token.
    assert site.status("/admin/login/", method="POST", headers=headers, body=body(), timeout=60) == 403
