"""The ASGI application that Granian serves: it keeps slow clients from occupying Django's few threads.

A request gets a thread once its body has arrived, and releases it once the response is complete, no matter how slowly
the client reads. Probes are answered here, without such a thread. The site itself is the WSGI application in
config/wsgi.py.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from contextvars import copy_context
from functools import partial
from multiprocessing import set_start_method
from multiprocessing.util import Finalize
from tempfile import SpooledTemporaryFile
from typing import IO, Any
from wsgiref.types import WSGIApplication

from config.wsgi import application as site
from ops.env import THREADS, number
from ops.environ import RefusedError, environ_of
from ops.health import OTHERS, READY
from ops.logs import log_access
from ops.pages import own_answer
from ops.stream import CHUNK, Stream, file_of

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[str, str]]

PAGE = 256 * 1024  # bytes: larger responses are sent in chunks
BODIES = 100  # disk space for incoming requests, in multiples of the maximum request size
# Seconds that a client has to send or read one chunk, so that the minimum rate is about 2 kB/s.
# Must be less than GRANIAN_WORKERS_KILL_TIMEOUT, the time that a worker has to stop.
CHUNK_TIMEOUT = 20.0
READY_TIMEOUT = 2.0  # seconds that the database has to answer

BUSY = "The site is busy. Try again in a moment."
PLAIN = [("Content-Type", "text/plain")]

logger = logging.getLogger(__name__)

Content = bytes | Stream | IO[bytes]
Answer = tuple[int, Headers, Content]


async def ready() -> tuple[int, str]:
    """Return the status and the text for /readyz."""
    try:
        return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(READY.start())), READY_TIMEOUT)
    except TimeoutError:
        logger.error("Not ready: no answer within %s seconds", READY_TIMEOUT)
        return 503, "not ready\n"


async def begin(send: Send, status: int, headers: Headers) -> None:
    """Send the status and the headers of a response."""
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def reply(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Send a response."""
    await begin(send, status, headers)
    await send({"type": "http.response.body", "body": body})


class Front:
    """The application: it processes `threads` requests at a time, and `queue` more can wait."""

    def __init__(self, site: WSGIApplication, *, threads: int, queue: int, max_body: int) -> None:
        """Prepare to serve a site."""
        self.site, self.threads, self.limit = site, threads, threads + queue
        self.max_body, self.room = max_body, BODIES * max_body
        self.requests = 0  # with a thread or waiting for one
        self.pool = ThreadPoolExecutor(threads, "site")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["path"] == "/livez":
            for other in OTHERS:
                other.start()
            await reply(send, 200, PLAIN, b"ok\n")
        elif scope["path"] == "/readyz" and b"x-forwarded-for" not in dict(scope["headers"]):
            status, text = await ready()
            await reply(send, status, PLAIN, text.encode())
        else:
            start = time.perf_counter()
            exchange = Exchange(self, scope, receive, send)
            try:
                await exchange.run()
            except RefusedError as refusal:
                # Close the connection: the rest of the request may still be arriving.
                headers, page = own_answer(scope["path"], refusal.status)
                await reply(send, refusal.status, [*headers, ("Connection", "close")], page)
                log_access(scope["method"], scope["path"], refusal.status, start)
            finally:
                exchange.end()


class Exchange:
    """A request and its response."""

    def __init__(self, front: Front, scope: Message, receive: Receive, send: Send) -> None:
        """Start with an empty body."""
        self.front, self.scope, self.receive, self.send = front, scope, receive, send
        self.body, self.length = SpooledTemporaryFile(CHUNK), 0  # noqa: SIM115
        self.left: asyncio.Task[None] | None = None
        self.loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Answer] = self.loop.create_future()

    async def run(self) -> None:
        """Pass the request to the site and the response to the client; RefusedError if the request is refused."""
        sent = dict(self.scope["headers"])
        if b"x-refused" in sent:  # by the proxy, which asks for the page only
            raise RefusedError(413 if sent[b"x-refused"] == b"413" else 400, "The proxy has refused the request.")
        if b"content-length" in sent or b"transfer-encoding" in sent:
            if int(sent.get(b"content-length", 0)) > self.front.max_body:
                raise RefusedError(413, "The request is too large.")
            try:
                await self.fetch()
            except TimeoutError:
                raise RefusedError(408, "The request arrives too slowly.") from None
            except OSError as error:
                logger.error("A request body cannot be stored: %s", error)
                raise RefusedError(503, BUSY) from None
        status, headers, content = await self.ask()
        if isinstance(content, bytes):
            await reply(self.send, status, headers, content)
            return
        read = content.read if isinstance(content, Stream) else partial(asyncio.to_thread, content.read, CHUNK)
        left = self.watch()
        with closing(content), suppress(TimeoutError):
            await begin(self.send, status, headers)
            while (data := await read()) and not left.done():
                async with asyncio.timeout(CHUNK_TIMEOUT):
                    await self.send({"type": "http.response.body", "body": data, "more_body": True})
            await self.send({"type": "http.response.body"})

    async def fetch(self) -> None:
        """Receive the body; TimeoutError if it arrives too slowly."""
        counted, more = 0, True
        async with asyncio.timeout(CHUNK_TIMEOUT) as patience:
            while more:
                message = await self.receive()
                if message["type"] == "http.disconnect":
                    raise RefusedError(400, "The request is incomplete.")
                data, more = message["body"], message["more_body"]
                self.length += len(data)
                self.front.room -= len(data)
                if self.length > self.front.max_body:
                    raise RefusedError(413, "The request is too large.")
                if self.front.room < 0:
                    raise RefusedError(503, BUSY)
                if self.length <= CHUNK:
                    self.body.write(data)
                else:
                    await asyncio.to_thread(self.body.write, data)
                if self.length - counted >= CHUNK:
                    counted = self.length
                    patience.reschedule(self.loop.time() + CHUNK_TIMEOUT)
        self.body.seek(0)

    async def ask(self) -> Answer:
        """Return the site's answer; RefusedError if the queue is full or the wait is too long."""
        front = self.front
        if front.requests >= front.limit:
            raise RefusedError(503, BUSY)
        environ = environ_of(self.scope, self.body, self.length)
        front.requests += 1
        work = front.pool.submit(copy_context().run, self.call, environ)
        if front.requests > front.threads:  # it waits: the client may disconnect first
            left = self.watch()
            await asyncio.wait((left, self.answer), timeout=CHUNK_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
            if not self.answer.done() and work.cancel():
                front.requests -= 1
                raise RefusedError(499 if left.done() else 503, BUSY)  # 499: nginx's status if the client disconnects
        return await self.answer

    def call(self, environ: dict[str, Any]) -> None:
        """Call the site in a thread, and pass on its answer: complete, or as a stream while it is being written."""
        status = 500
        headers: Headers = []
        content: Content = b""
        stream: Stream | None = None

        # It returns no `write` function: Django does not need one.
        def start_response(line: str, fields: Headers, _: object = None) -> Any:
            nonlocal status, headers
            status, headers = int(line[:3]), fields

        try:
            result = self.front.site(environ, start_response)
            try:
                length = next((int(value) for name, value in headers if name.lower() == "content-length"), None)
                if environ["REQUEST_METHOD"] == "HEAD":
                    pass
                elif length is not None and length <= PAGE:
                    content = b"".join(result)
                elif file := file_of(result):
                    content = file
                else:
                    stream = Stream(self.loop)
                    self.loop.call_soon_threadsafe(self.answer.set_result, (status, headers, stream))
                    for data in result:
                        stream.write(data)
            finally:
                getattr(result, "close", bool)()
        except BrokenPipeError:
            pass
        except Exception:
            logger.exception("The site raised an exception")
            status, (headers, content) = 500, own_answer(self.scope["path"], 500)
        self.loop.call_soon_threadsafe(self.called, (status, headers, content))
        if stream:
            stream.end()  # after `called`: a client that has its response finds a free thread

    def called(self, answer: Answer) -> None:
        """Pass on the answer, unless `call` has passed it on as a stream."""
        self.front.requests -= 1
        if not self.answer.done():
            self.answer.set_result(answer)

    def watch(self) -> asyncio.Task[None]:
        """Return a task that ends when the client has disconnected or has received the whole response."""

        async def watch() -> None:
            while (await self.receive())["type"] != "http.disconnect":
                pass

        self.left = self.left or asyncio.create_task(watch())
        return self.left

    def end(self) -> None:
        """Release the resources of the request."""
        if self.left:
            self.left.cancel()
        self.front.room += self.length
        self.body.close()


application = Front(
    site,
    threads=THREADS,
    queue=number("WEB_QUEUE", default=100),
    max_body=number("MAX_BODY_MB", default=10, minimum=1) * 1_000_000,
)


def worker() -> Front:
    """Return the application to the worker process that runs it."""
    # Processes that the site starts must not be copies of this one, whose threads they would lack.
    set_start_method("spawn", force=True)
    # It ends without finalizing Python: before 3.14 that can kill Granian's threads, which then panic.
    Finalize(None, os._exit, args=(0,), exitpriority=-1)
    return application
