"""Malformed requests, made of real ones by hypothesis and by hand, and what a deployed site answers to them."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from dataclasses import dataclass

from hypothesis import strategies as st

from tests.support.production import any_certificate

CONTEXT = any_certificate()
API = b"/api/v1/users/me/"
LOGIN = b"/admin/login/?next=/admin/"
BOUNDARY = b"multipart/form-data; boundary=x"
FORM = b"application/x-www-form-urlencoded"
PART = (
    b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\nContent-Type: text/css\r\n\r\nAda\r\n--x--\r\n'
)
FIELDS = b"csrfmiddlewaretoken=" + b"c" * 32 + b"&username=ada&password=x"


def request(path: bytes, kind: bytes = b"", body: bytes = b"", method: bytes = b"", *, chunked: bool = False) -> bytes:
    """Return a request. TOKEN stands for the user's token."""
    head = (method or (b"POST" if kind else b"GET")) + b" " + path + b" HTTP/1.1\r\nHost: localhost\r\n"
    head += b"Authorization: Token TOKEN\r\nCookie: csrftoken=" + b"c" * 32 + b"\r\nReferer: https://localhost/\r\n"
    if not kind:
        return head + b"\r\n"
    head += b"Content-Type: " + kind + b"\r\n"
    if chunked:
        return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


SEEDS = [
    request(b"/"),
    request(LOGIN),
    request(b"/admin/accounts/user/?q=a&p=0&o=1"),
    request(b"/static/site.css"),
    request(b"/media/a.png"),
    request(b"/api/v1/users/?page=1"),
    request(b"/api/v1/tokens/0123456789abcde/", method=b"DELETE"),
    request(b"/api/schema/?format=json&lang=en"),
    request(API, b"application/json", b'{"first_name": "Ada", "email": "ada@example.com"}', b"PATCH"),
    request(API, b"application/json", b'{"first_name": "Ada"}', b"PATCH", chunked=True),
    request(API, FORM, b"first_name=Ada&email=ada%40example.com", b"PATCH"),
    request(API, BOUNDARY, PART, b"PATCH"),
    request(b"/api/v1/token/", b"application/json", b'{"username": "ada", "password": "x"}'),
    request(LOGIN, FORM, FIELDS),
    request(LOGIN, FORM, FIELDS, chunked=True),
    request(LOGIN, BOUNDARY, PART),
]
PIECES = [
    *(b"\x00", b"\xff\xfe", b"\xc3", b"%00", b"%FF", b"%", b"\r\n", b"\n", b"\r\n\r\n", b" ", b";", b",", b'"', b"\\"),
    *(b"-1", b"0", b"9" * 40, b"1e999", b"NaN", b"null", b"\\ud800", b"\\u0000", b"{", b"[" * 3000, b'{"a":' * 3000),
    *(b"; charset=utf-16", b"; charset=hex", b"; charset=idna", b"; charset*=hex''00", b"; boundary=", b"--x\r\n"),
    *(b"zz\r\n", b"fffffffff\r\n", b"0\r\n\r\n", b"\r\nContent-Length: 3", b"\r\nTransfer-Encoding: chunked"),
    *(b"; filename*=hex''00", b"\r\nContent-Transfer-Encoding: base64", b"../", b"//", b"a" * 300, b"&a=" * 1500),
]
# What was answered with 500, with 502 or with nothing -> the request.
KNOWN = {
    "a form in UTF-16": request(LOGIN, FORM + b"; charset=utf-16", FIELDS),
    "a charset that is none": request(API, BOUNDARY + b"; charset=hex", PART, b"PATCH"),
    "a charset of a page": request(LOGIN, b"text/plain; charset=undefined", b"x", b"GET"),
    "nested JSON": request(API, b"application/json", b"[" * 100_000, b"PATCH"),
    "JSON that is no text": request(API, b"application/json", b"\xff\xfe{", b"PATCH"),
    "a token that is no text": request(API).replace(b"TOKEN", b"\xff\xfe"),
    "a boundary that is none": request(API, b"multipart/form-data; boundary=", PART, b"PATCH"),
    "a broken chunk": request(API, b"application/json", b"{}", chunked=True).replace(b"2\r\n{}", b"zz\r\n{}"),
    "a broken trailer": request(API, b"application/json", b"{}", chunked=True)[:-2] + b"a: \x01\r\n\r\n",
    "too many headers": request(b"/").replace(b"\r\n\r\n", b"\r\nA: b" * 150 + b"\r\n\r\n"),
    "a large header": request(b"/").replace(b"\r\n\r\n", b"\r\nA: " + b"b" * 70_000 + b"\r\n\r\n"),
    "a long address": request(b"/" + b"a" * 70_000),
    "too many fields": request(LOGIN, FORM, FIELDS + b"&a=" * 1500),
    "too many fields in the address": request(LOGIN + b"&a=" * 1500),
    "too many files": request(LOGIN, BOUNDARY, PART.removesuffix(b"--x--\r\n") * 150 + b"--x--\r\n"),
    "an address that is none": request(b'/?a="<>"'),
}


@st.composite
def malformed(draw: st.DrawFn) -> bytes:
    """Return a request with up to four places changed."""
    data: bytes = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = start + draw(st.sampled_from([0, 0, 1, 2, 10, 100]))
        data = data[:start] + draw(st.sampled_from(PIECES) | st.binary(max_size=6)) + data[end:]
    return data


@dataclass(frozen=True)
class Reply:
    """A response; status 0 if there was none in time, and -1 if the connection was closed without one."""

    status: int
    headers: bytes
    body: bytes


def ask(port: int, data: bytes, patience: float = 60) -> Reply:
    """Send bytes to a site at a public port, and return its answer, for which it has `patience` seconds."""
    received, closed = b"", False
    with socket.create_connection(("localhost", port), patience) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with CONTEXT.wrap_socket(raw, server_hostname="localhost") as client:
            with suppress(OSError):  # it may answer and close before it has read everything
                client.sendall(data)
            try:
                while not (closed or _is_complete(received)):
                    received += (part := client.recv(65536))
                    closed = not part
            except TimeoutError:
                pass
            except OSError:
                closed = True
    head, _, body = received.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.[01] (\d{3})", head)
    return Reply(int(status[1]) if status else -closed, head.lower(), body)


def _is_complete(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return False
    if length := re.search(rb"(?i)\r\ncontent-length: (\d+)", head):
        return len(body) >= int(length[1])
    if b"chunked" in head.lower():
        return body.endswith(b"0\r\n\r\n")
    return head.split()[1] in {b"204", b"304"}
