"""Requests as WSGI describes them, without those that no part of the site could read."""

import codecs
import sys
from contextlib import suppress
from typing import IO, Any
from urllib.parse import unquote_to_bytes
from wsgiref.util import FileWrapper

from django.utils.http import parse_header_parameters


class RefusedError(Exception):
    """The request is refused with this status, without calling the site."""

    def __init__(self, status: int, text: str) -> None:
        """Store the status and the text of the response."""
        super().__init__(text)
        self.status = status


def is_text(content_type: str) -> bool:
    """Tell whether a content type's charset is one of text. Python has others, such as zip, that Django would use."""
    try:
        charset = parse_header_parameters(content_type)[1].get("charset", "utf-8")
        codecs.lookup(charset)
    except LookupError:  # Django ignores an unknown one
        return True
    except ValueError:
        return False
    with suppress(LookupError, ValueError):
        b"x".decode(charset, "replace")
        return True
    return False


def environ_of(scope: dict[str, Any], body: IO[bytes], length: int) -> dict[str, Any]:
    """Return the WSGI environ of a request; RefusedError if Django could not read it."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": scope["server"][0],
        "SERVER_PORT": scope["server"][1],
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": scope["client"][0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": body,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
    }
    for key, value in scope["headers"]:
        if b"_" not in key:  # WSGI cannot tell X_Forwarded_For from X-Forwarded-For
            name = "HTTP_" + key.decode("latin-1").upper().replace("-", "_")
            text = value.decode("latin-1")
            separator = "; " if name == "HTTP_COOKIE" else ","
            environ[name] = f"{environ[name]}{separator}{text}" if name in environ else text
    if "HTTP_CONTENT_TYPE" in environ:
        environ["CONTENT_TYPE"] = environ.pop("HTTP_CONTENT_TYPE")
    if environ.pop("HTTP_CONTENT_LENGTH", None) or length:
        environ["CONTENT_LENGTH"] = str(length)  # by now known for chunked bodies, too
    kind = environ.get("CONTENT_TYPE")
    if not environ.get("HTTP_AUTHORIZATION", "").isascii() or (kind and not is_text(kind)):
        raise RefusedError(400, "The request cannot be read.")
    return environ
