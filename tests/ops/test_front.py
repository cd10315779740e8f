"""The application in front of the site: slow clients, full queues, and probes."""

import asyncio
import errno
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn
from wsgiref.types import StartResponse

import pytest

from ops import front
from ops.front import PAGE, Front, Message
from ops.health import Check
from ops.stream import CHUNK, Stream

Environ = dict[str, Any]


class Client:
    """Sends one request to a front, and records the response."""

    def __init__(self, app: Front, path: str = "/", method: str = "POST", **headers: str) -> None:
        """Send nothing yet."""
        fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        self.scope: Message = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "http_version": "1.1",
            "scheme": "http",
            "headers": fields,
            "client": ("192.0.2.1", "1"),
            "server": ("127.0.0.1", "8000"),
        }
        self.app, self.status, self.body, self.done = app, 0, b"", False
        self.headers: dict[bytes, bytes] = {}
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.asked = 0  # times that a message was waited for
        self.reads = asyncio.Event()
        self.reads.set()

    def sends(self, body: bytes, more: bool = False) -> None:
        """Send a part of the body."""
        self.messages.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leaves(self) -> None:
        """Disconnect."""
        self.messages.put_nowait({"type": "http.disconnect"})

    async def answer(self) -> int:
        """Return the status when the whole response has been sent."""
        await self.app(self.scope, self._receive, self._send)
        return self.status

    async def _receive(self) -> Message:
        self.asked += 1
        return await self.messages.get()

    async def _send(self, message: Message) -> None:
        self.status = message.get("status", self.status)
        self.headers |= dict(message.get("headers", []))
        if message.get("more_body"):
            await self.reads.wait()
        self.body += message.get("body", b"")


class Site:
    """A WSGI application that answers with `content`, and can be made to wait."""

    def __init__(self, content: Any = (b"ok",), **headers: str) -> None:
        """Answer at once."""
        self.content, self.headers = content, [(name.replace("_", "-"), value) for name, value in headers.items()]
        self.seen: list[Environ] = []
        self.bodies: list[bytes] = []
        self.started, self.goes_on = threading.Semaphore(0), threading.Event()
        self.goes_on.set()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Any:
        """Answer."""
        self.seen.append(environ)
        self.bodies.append(environ["wsgi.input"].read())
        self.started.release()
        self.goes_on.wait(60)
        start_response("200 OK", self.headers)
        return self.content(environ) if callable(self.content) else self.content

    async def works(self) -> None:
        """Wait until a thread is working on a request."""
        assert await asyncio.to_thread(self.started.acquire, timeout=60)


def front_of(site: Site, threads: int = 1, queue: int = 1, max_body: int = 10_000_000) -> Front:
    """Return a front for a site."""
    return Front(site, threads=threads, queue=queue, max_body=max_body)


def run(test: Callable[[], Any]) -> None:
    """Run an asynchronous test."""
    asyncio.run(asyncio.wait_for(test(), 300))


@pytest.mark.parametrize("size", [10, 3 * CHUNK])
def test_the_site_gets_a_body_when_it_is_complete(size: int) -> None:
    async def test() -> None:
        site = Site()
        client = Client(front_of(site), transfer_encoding="chunked")
        answer = asyncio.ensure_future(client.answer())
        client.sends(b"a" * size, more=True)
        await asyncio.sleep(0.1)
        assert not site.seen
        client.sends(b"b")
        assert await answer == 200
        assert site.bodies == [b"a" * size + b"b"]
        assert site.seen[0]["CONTENT_LENGTH"] == str(size + 1)

    run(test)


def test_a_body_may_take_long_but_not_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    late = 0.0

    async def test() -> None:
        nonlocal late
        loop = asyncio.get_running_loop()
        clock = loop.time
        monkeypatch.setattr(loop, "time", lambda: clock() + late)
        site = Site()
        client = Client(front_of(site), content_length=str(5 * CHUNK + 1))
        answer = asyncio.ensure_future(client.answer())
        for number in range(1, 6):
            client.sends(b"a" * CHUNK, more=True)
            while client.asked <= number and not answer.done():  # until it waits for the next part
                await asyncio.sleep(0.01)
            late += 15
            await asyncio.sleep(0.01)
        assert not answer.done()
        late += 4
        client.sends(b"", more=True)  # small pieces do not reset the timeout
        await asyncio.sleep(0.01)
        late += 4
        assert await asyncio.wait_for(answer, 300) == 408
        assert not site.seen
        assert client.app.room == 1_000_000_000

    asyncio.run(test())


def test_a_body_that_is_cut_off_or_too_large_is_refused() -> None:
    async def test() -> None:
        site = Site()
        app = front_of(site, max_body=100)
        cut = Client(app, content_length="10")
        cut.sends(b"a", more=True)
        cut.leaves()
        assert await cut.answer() == 400
        assert await Client(app, content_length="101").answer() == 413
        for sent, answered in {"413": 413, "502": 400}.items():
            assert await Client(app, method="GET", x_refused=sent).answer() == answered
        chunked = Client(app, transfer_encoding="chunked")
        chunked.sends(b"a" * 101, more=True)
        assert await chunked.answer() == 413
        app.room = 9
        unlucky = Client(app, content_length="10")
        unlucky.sends(b"a" * 10)
        assert await unlucky.answer() == 503
        assert not site.seen

    run(test)


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("content_type", "text/html; charset=utf-16", 200),
        ("content_type", "text/html; charset=unknown", 200),
        ("content_type", "text/html; charset=hex", 400),
        ("content_type", "text/html; charset=idna", 400),
        ("content_type", "text/html;" + "a" * 20_000, 400),
        ("authorization", "Token \xe6", 400),
    ],
)
def test_what_no_part_of_the_site_could_read_is_refused(header: str, value: str, status: int) -> None:
    async def test() -> None:
        site = Site()
        client = Client(front_of(site), method="GET", **{header: value})
        assert await client.answer() == status
        assert len(site.seen) == (status == 200)
        if status == 400:
            assert b"The request cannot be read." in client.body
            wanted = {b"X-Request-ID", b"Content-Security-Policy", b"X-Content-Type-Options", b"X-Frame-Options"}
            assert wanted <= client.headers.keys()
        assert client.app.requests == 0

    run(test)


def test_a_body_that_cannot_be_stored_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        def refuse(*_: Any, **__: Any) -> NoReturn:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
        app = front_of(Site())
        client = Client(app, content_length=str(2 * CHUNK))
        client.sends(b"a" * 2 * CHUNK)
        assert await client.answer() == 503
        client = Client(app, content_length="1")
        client.sends(b"a")
        assert await client.answer() == 200

    run(test)


def test_a_full_queue_refuses_and_forgets_clients_that_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        site = Site()
        site.goes_on.clear()
        app = front_of(site)
        first, second, third = (Client(app) for _ in range(3))
        working = asyncio.ensure_future(first.answer())
        await site.works()
        waiting = asyncio.ensure_future(second.answer())
        await asyncio.sleep(0)
        assert await third.answer() == 503
        assert await Client(app, "/livez").answer() == 200
        second.leaves()
        assert await waiting == 499
        monkeypatch.setattr(front, "CHUNK_TIMEOUT", 0.1)
        assert await Client(app).answer() == 503, "a request waits for CHUNK_TIMEOUT at most"
        site.goes_on.set()
        assert await working == 200
        assert await Client(app).answer() == 200
        assert len(site.seen) == 2
        assert app.requests == 0

    run(test)


def a_file(tmp_path: Path) -> Callable[[Environ], Any]:
    """Return a response that sends the last ten chunks of a file."""
    (tmp_path / "large").write_bytes(b"b" + b"a" * 10 * CHUNK)

    def content(environ: Environ) -> Any:
        file = (tmp_path / "large").open("rb")
        file.read(1)
        return environ["wsgi.file_wrapper"](file)

    return content


@pytest.mark.parametrize("kind", ["file", "stream", "page"])
def test_a_client_that_reads_slowly_holds_no_thread(kind: str, tmp_path: Path) -> None:
    async def test() -> None:
        size = 10 * CHUNK
        site = Site(
            {"file": a_file(tmp_path), "stream": lambda _: iter([b"a" * CHUNK] * 10), "page": [b"a" * size]}[kind],
            Content_Length=str(size),
        )
        assert size > PAGE
        app = front_of(site)
        slow = Client(app)
        slow.reads.clear()
        reading = asyncio.ensure_future(slow.answer())
        for _ in range(3):
            other = Client(app)
            assert await other.answer() == 200
            assert other.body == b"a" * size
        slow.reads.set()
        assert await reading == 200
        assert slow.body == b"a" * size

    run(test)


def test_the_end_of_a_stream_frees_its_thread() -> None:
    class Content(list[bytes]):
        def close(self) -> None:
            time.sleep(0.1)

    async def test() -> None:
        app = front_of(Site(lambda _: Content([b"a"])), queue=0)
        for _ in range(3):
            assert await Client(app).answer() == 200

    run(test)


def test_a_stream_ends_when_its_client_has_gone_or_reads_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        ended = threading.Semaphore(0)

        def endless(_: Environ) -> Iterator[bytes]:
            try:
                while True:
                    yield b"a" * CHUNK
            finally:
                ended.release()

        app = front_of(Site(endless))
        gone, stuck = Client(app), Client(app)
        gone.leaves()
        await gone.answer()
        assert await asyncio.to_thread(ended.acquire, timeout=60)
        monkeypatch.setattr(front, "CHUNK_TIMEOUT", 0.1)
        stuck.reads.clear()
        await stuck.answer()
        assert await asyncio.to_thread(ended.acquire, timeout=60)
        assert stuck.body == b""
        assert caplog.messages == []

    run(test)


def test_what_a_stream_yields_is_sent_at_once() -> None:
    async def test() -> None:
        more = threading.Event()

        def content(_: Environ) -> Iterator[bytes]:
            yield b"a"
            more.wait(60)
            yield b"b"

        client = Client(front_of(Site(content)))
        answer = asyncio.ensure_future(client.answer())
        while client.body != b"a":
            await asyncio.sleep(0.01)
        more.set()
        assert await answer == 200
        assert client.body == b"ab"

    run(test)


def test_a_site_that_raises_and_requests_without_a_body() -> None:
    async def test() -> None:
        site = Site(lambda _: 1 / 0)
        app = front_of(site)
        for _ in range(3):
            failed = Client(app, method="GET")
            assert await failed.answer() == 500
            assert b"It has been logged." in failed.body
            assert b"Content-Security-Policy" in failed.headers
        site.content = [b"a page"]
        head = Client(app, method="HEAD", x_forwarded_for="192.0.2.2")
        head.scope["headers"].append((b"x_forwarded_for", b"192.0.2.3"))
        assert await head.answer() == 200
        assert head.body == b""
        assert site.seen[-1]["HTTP_X_FORWARDED_FOR"] == "192.0.2.2"
        assert "CONTENT_LENGTH" not in site.seen[-1]

    run(test)


def test_one_check_at_a_time_and_no_longer_than_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        checks = []
        answers = threading.Event()

        def readiness() -> tuple[int, str]:
            checks.append(1)
            answers.wait(60)
            return 200, "ok\n"

        monkeypatch.setattr(front, "READY", Check(readiness))
        monkeypatch.setattr(front, "READY_TIMEOUT", 0.1)
        app = front_of(Site())
        assert set(await asyncio.gather(*(Client(app, "/readyz").answer() for _ in range(20)))) == {503}
        assert await Client(app, "/livez").answer() == 200
        answers.set()
        while await Client(app, "/readyz").answer() != 200:
            pass
        assert len(checks) <= 2

    run(test)


def test_live_starts_the_other_checks_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        checks: list[int] = []
        other = Check(lambda: checks.append(1), every=3600)
        monkeypatch.setattr(front, "OTHERS", [other])
        app = front_of(Site())
        for _ in range(3):
            assert await Client(app, "/livez").answer() == 200
            other.start().result(60)
        assert checks == [1]

    run(test)


def test_a_large_page_is_not_copied_in_memory() -> None:
    async def test() -> None:
        page = bytes(20_000_000)
        stream = Stream(asyncio.get_running_loop())
        tracemalloc.start()
        try:
            stream.write(page)
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()
            stream.close()

    run(test)
