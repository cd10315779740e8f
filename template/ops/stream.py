"""Responses that are too large for memory, passed from a thread to the event loop: see ops/front.py."""

import asyncio
import io
import os
import threading
from tempfile import SpooledTemporaryFile
from typing import IO
from wsgiref.util import FileWrapper

# Bytes. Many clients can be slow at once: memory holds this much of each, unnamed files in TMPDIR hold the rest.
CHUNK = 32 * 1024
SPOOL = 64 * 1024 * 1024  # of a streaming response: beyond this, its thread waits for the client


class Stream:
    """The body of a streaming response: a thread writes it, and the event loop reads it at the client's pace."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start empty."""
        self.loop, self.news = loop, asyncio.Event()
        self.changed = threading.Condition()
        self.file: IO[bytes] = SpooledTemporaryFile(CHUNK)  # noqa: SIM115
        self.written = self.read_up_to = 0
        self.ended = self.closed = False

    def write(self, data: bytes) -> None:
        """Append data; BrokenPipeError if the client has disconnected."""
        with self.changed:
            self.changed.wait_for(lambda: self.closed or self.written < SPOOL)
            if self.closed:
                raise BrokenPipeError("the client has disconnected")
            self.file.seek(self.written)
            for start in range(0, len(data), CHUNK):  # a file that begins in memory would keep a copy of it all
                self.written += self.file.write(data[start : start + CHUNK])
        if not self.news.is_set():
            self.loop.call_soon_threadsafe(self.news.set)

    def end(self) -> None:
        """Mark the end of the body."""
        self.ended = True
        self.loop.call_soon_threadsafe(self.news.set)

    def close(self) -> None:
        """Stop reading: further writes raise BrokenPipeError."""
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
            if self.read_up_to == self.written:  # start over, or the file would keep growing
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
    """Return a duplicate of the file on disk that a response consists of, or None."""
    file = result.filelike if isinstance(result, FileWrapper) else None
    file = getattr(file, "file", file)  # unwrap Django's File
    if not isinstance(file, io.BufferedReader | io.BufferedRandom):
        return None
    copy = os.fdopen(os.dup(file.fileno()), "rb")
    copy.seek(file.tell())
    return copy
