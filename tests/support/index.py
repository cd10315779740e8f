"""A package index on this machine: a few tiny packages with upload times, and whatever else the real index has."""

from __future__ import annotations

import hashlib
import io
import json
import ssl
import subprocess
import tarfile
import threading
import urllib.error
import urllib.request
import zipfile
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pip._internal.models.index import PyPI

SIMPLE = "application/vnd.pypi.simple.v1+json"
# A build of this sdist needs no other package, and fails as one without a compiler does.
BACKEND = """
def build_wheel(*_, **__):
    raise SystemExit("error: command 'gcc' failed: No such file or directory")
"""
CERTIFICATES = """
openssl req -x509 -newkey rsa:2048 -nodes -keyout company.pem -out company.crt -days 2 -subj /CN=company
openssl req -newkey rsa:2048 -nodes -keyout key.pem -out request.pem -subj /CN=index
printf 'subjectAltName=DNS:localhost,IP:{address}' > names
openssl x509 -req -in request.pem -CA company.crt -CAkey company.pem -CAcreateserial -extfile names -out cert.pem
"""


def certificates(folder: Path, address: str) -> None:
    """Write a certificate authority, company.crt, and a server's certificate from it for localhost and `address`."""
    script = CERTIFICATES.format(address=address)
    subprocess.run(["sh", "-ec", script], cwd=folder, check=True, capture_output=True)


def metadata(name: str, version: str) -> str:
    """Return a package's METADATA."""
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"


def wheel(name: str, version: str) -> bytes:
    """Return a wheel with an empty module."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        folder = f"{name}-{version}.dist-info"
        archive.writestr(f"{folder}/METADATA", metadata(name, version))
        archive.writestr(f"{folder}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{folder}/RECORD", "")
        archive.writestr(f"{name}.py", "")
    return file.getvalue()


def source(name: str, version: str, *, dynamic: bool) -> bytes:
    """Return a source distribution that cannot be built."""
    more = 'dynamic = ["dependencies"]\n' if dynamic else ""
    file = io.BytesIO()
    texts = {
        "pyproject.toml": f'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        f'[project]\nname = "{name}"\nversion = "{version}"\n{more}',
        "PKG-INFO": metadata(name, version),
        "backend.py": BACKEND,
    }
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for path, text in texts.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{path}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return file.getvalue()


@dataclass
class Index:
    """An index at `address`, over TLS if `folder` holds certificates; use it as a context manager.

    `packages` are name -> version -> days since it was uploaded, "source" instead of days for one that is only
    source, "dynamic" if only its build tells what it needs.
    """

    packages: dict[str, dict[str, Any]] = field(default_factory=dict)
    folder: Path | None = None
    address: str = "127.0.0.1"
    login: str = ""
    upload_times: bool = True
    forwards: bool = True  #: whether it has what the real index has
    asked: set[tuple[str, bool]] = field(default_factory=set)  #: (client, whether it sent the login)

    def __enter__(self) -> Index:
        self.files = {
            f"{name}-{version}-py3-none-any.whl" if isinstance(days, int) else f"{name}-{version}.tar.gz": (
                wheel(name, version) if isinstance(days, int) else source(name, version, dynamic=days == "dynamic")
            )
            for name, versions in self.packages.items()
            for version, days in versions.items()
        }
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.answer(self)

            def do_HEAD(self) -> None:
                index.answer(self)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer((self.address, 0), Handler)
        if self.folder:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.folder / "cert.pem", self.folder / "key.pem")
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def url(self, host: str = "") -> str:
        """Return the index's URL, with its login if it has one."""
        login = f"{self.login}@" if self.login else ""
        return f"http{'s' if self.folder else ''}://{login}{host or self.address}:{self.server.server_port}/simple"

    def page(self, name: str) -> bytes:
        """Return the page of one of the packages."""
        files = []
        for version, days in self.packages[name].items():
            [file] = [each for each in self.files if each.startswith(f"{name}-{version}")]
            entry = {
                "filename": file,
                "url": f"/files/{file}",
                "hashes": {"sha256": hashlib.sha256(self.files[file]).hexdigest()},
            }
            if self.upload_times:
                uploaded = datetime.now(UTC) - timedelta(days=days if isinstance(days, int) else 100)
                entry["upload-time"] = uploaded.strftime("%Y-%m-%dT%H:%M:%SZ")
            files.append(entry)
        return json.dumps({"meta": {"api-version": "1.1"}, "name": name, "files": files}).encode()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer with a file, or the page of a package; those of others come from the real index."""
        login = f"Basic {b64encode(self.login.encode()).decode()}"
        self.asked.add((request.headers["User-Agent"].partition("/")[0], request.headers["Authorization"] == login))
        if self.login and request.headers["Authorization"] != login:
            request.send_error(401)
            return
        name = request.path.strip("/").rpartition("/")[2]
        if name in self.files:
            body, kind = self.files[name], "application/octet-stream"
        elif name in self.packages:
            body, kind = self.page(name), SIMPLE
        elif not self.forwards:
            request.send_error(404)
            return
        else:
            accept = {"Accept": request.headers["Accept"]}
            asked = urllib.request.Request(f"{PyPI.simple_url}/{name}/", headers=accept)
            try:
                with urllib.request.urlopen(asked) as real:
                    body, kind = real.read(), real.headers["Content-Type"]
            except urllib.error.HTTPError as error:
                request.send_error(error.code)
                return
        request.send_response(200)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body)
