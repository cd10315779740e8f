"""Responses that are too long for memory, on their way from a thread to the event loop: see ops/front.py."""

import asyncio
import io
import os
import threading
from tempfile import SpooledTemporaryFile
from typing import IO
from wsgiref.util import FileWrapper

# Bytes. Many clients can be slow at a time: little of each is in memory, and the rest is in unnamed files in TMPDIR.
CHUNK = 32 * 1024
SPOOL = 64 * 1024 * 1024  # of a streaming response: its thread waits while so much has not been read


class Stream:
    """The body of a streaming response: a thread writes it, and the event loop reads it as fast as the client does."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start empty."""
        self.loop, self.news = loop, asyncio.Event()
        self.changed = threading.Condition()
        self.file: IO[bytes] = SpooledTemporaryFile(CHUNK)  # noqa: SIM115
        self.written = self.read_up_to = 0
        self.ended = self.closed = False

    def write(self, data: bytes) -> None:
        """Append data; BrokenPipeError if the client has gone."""
        with self.changed:
            self.changed.wait_for(lambda: self.closed or self.written < SPOOL)
            if self.closed:
                raise BrokenPipeError("the client has gone")
            self.file.seek(self.written)
            self.written += self.file.write(data)
        if not self.news.is_set():
            self.loop.call_soon_threadsafe(self.news.set)

    def end(self) -> None:
        """Write no more."""
        self.ended = True
        self.loop.call_soon_threadsafe(self.news.set)

    def close(self) -> None:
        """Read no more."""
        with self.changed:
            self.closed = True
            self.file.close()
            self.changed.notify()

    def take(self) -> bytes:
        """Return the next chunk, which is empty if there is none yet."""
        with self.changed:
            self.file.seek(self.read_up_to)
            chunk = self.file.read(CHUNK)
            self.read_up_to += len(chunk)
            if self.read_up_to == self.written:  # start over: otherwise the file would only grow
                self.file.seek(0)
                self.file.truncate()
                self.read_up_to = self.written = 0
            self.changed.notify()
        return chunk

    async def read(self) -> bytes:
        """Return the next chunk, which is empty at the end."""
        while True:
            self.news.clear()
            ended = self.ended
            if (chunk := await asyncio.to_thread(self.take)) or ended:
                return chunk
            await self.news.wait()


def file_of(result: object) -> IO[bytes] | None:
    """Return the file on disk that a response consists of, opened once more, or None."""
    file = result.filelike if isinstance(result, FileWrapper) else None
    file = getattr(file, "file", file)  # Django's own File
    if not isinstance(file, io.BufferedReader | io.BufferedRandom):
        return None
    copy = os.fdopen(os.dup(file.fileno()), "rb")
    copy.seek(file.tell())
    return copy
