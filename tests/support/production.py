"""A project that is deployed on this machine, reached through its public port, and put under load."""

from __future__ import annotations

import functools
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from tests.support.project import Project, add_app, line_added

# An app to add to the project: numbered writes, and a slow page.
APP = {
    "__init__.py": "",
    "migrations/__init__.py": "",
    "models.py": """
from django.db import models


class Entry(models.Model):
    number = models.IntegerField(unique=True)
    text = models.TextField()
""",
    "views.py": """
import time
from secrets import token_hex

from django.http import HttpResponse
from django.views.decorators.csrf import csrf_exempt

from ledger.models import Entry


def read(request):
    return HttpResponse(str(Entry.objects.count()))


@csrf_exempt
def write(request, number):
    Entry.objects.create(number=number, text=token_hex(int(request.GET["size"]) // 2))
    return HttpResponse(status=201)


def slow(request):
    time.sleep(3)
    return HttpResponse("slow and sure")
""",
}
URLS = """
from ledger import views

urlpatterns += [
    path("ledger/", views.read),
    path("ledger/<int:number>/", views.write),
    path("slow/", views.slow),
]
"""


# Prints the status of /readyz, in the web container.
READYZ = """
from http.client import HTTPConnection
connection = HTTPConnection("127.0.0.1", 8000)
connection.request("GET", "/readyz")
print(connection.getresponse().status)
"""


@functools.cache
def any_certificate() -> ssl.SSLContext:
    """Return a TLS context that accepts every certificate: the deployed site's is signed by Caddy's own CA.

    A default context reads all of this machine's certificates: 40 ms, for each request.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def own_address() -> str:
    """Return this machine's address in its network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        route.connect(("192.0.2.1", 9))  # sends nothing
        return str(route.getsockname()[0])


@dataclass
class Production:
    """A project that is deployed on this machine."""

    project: Project
    http_port: int
    https_port: int
    files: list[str] = field(default_factory=lambda: ["compose.production.yaml"])

    def compose(self, *arguments: str, fails: bool = False) -> str:
        """Run `docker compose` on the production stack."""
        files = [option for name in self.files for option in ("--file", name)]
        return self.project.compose("--env-file", "production.env", *files, *arguments, fails=fails)

    def make(self, target: str, *arguments: str, fails: bool = False) -> str:
        """Run `make`, and return what it printed."""
        return self.project.run("make", "--silent", target, *arguments, fails=fails)

    def lines(self, target: str, *arguments: str, fails: bool = False) -> list[str]:
        """Run `make`, and return the lines that it printed, without its own."""
        said = self.make(target, *arguments, fails=fails)
        return [line for line in said.splitlines() if not line.startswith("make: ***")]

    def configure(self, subnet: int, *lines: str) -> None:
        """Write production.env, with a network of its own."""
        settings = [
            *("SITE_HOST=localhost", f"HTTP_PORT={self.http_port}", f"HTTPS_PORT={self.https_port}"),
            *(f"FRONTEND_SUBNET=10.213.{subnet}.0/28", *lines, ""),
        ]
        (self.project.path / "production.env").write_text("\n".join(settings), encoding="utf-8")

    def python(self, code: str) -> str:
        """Run Python with Django loaded in the web container, and return what it prints."""
        return self.compose("exec", "-T", "web", "python", "manage.py", "shell", "--no-imports", "-c", code)

    def deploy_commit(self) -> str:
        """Deploy the checked-out commit, make `compose` use that version, and return what `make` printed."""
        self.project.environment.pop("TAG", None)  # otherwise the same version would be deployed again
        said = self.make("deploy")
        owner = (self.project.path / "secrets" / "secret_key").stat()
        tag = said.splitlines()[-1].split()[0]
        self.project.environment |= {"APP_USER": f"{owner.st_uid}:{owner.st_gid}", "TAG": tag}
        return said

    def remove(self) -> None:
        """Remove its containers, volumes and images, whether or not it was deployed."""
        (self.project.path / "production.env").touch()
        # compose.production.yaml requires these variables even if nothing was deployed.
        self.project.environment = {"APP_USER": "1", "TAG": "none", "SITE_HOST": "localhost"} | self.project.environment
        self.compose("--profile", "migrate", "down", "--volumes", "--remove-orphans", "--timeout", "1")
        self.project.run("sh", "-c", f"docker image rm --force $(docker image ls --quiet {self.project.slug}) || true")

    def ask(
        self,
        path: str,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        timeout: float = 60,
        body: Iterator[bytes] | bytes | None = None,
        name: str = "localhost",
    ) -> tuple[int, dict[str, list[str]], bytes]:
        """Send a request to the site's public port; OSError or HTTPException if there is no response."""
        connection = http.client.HTTPConnection("localhost", self.https_port, timeout=timeout)  # TLS is added below
        try:
            raw = socket.create_connection(("localhost", self.https_port), timeout)
            connection.sock = any_certificate().wrap_socket(raw, server_hostname=name)
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            found: dict[str, list[str]] = {}
            for name, value in answer.getheaders():
                found.setdefault(name.lower(), []).append(value)
            return answer.status, found, answer.read()
        finally:
            connection.close()

    def status(self, path: str, **options: object) -> int:
        """Return the status of a response, 0 if there is none."""
        try:
            return self.ask(path, **options)[0]  # type: ignore[arg-type]
        except (OSError, http.client.HTTPException):
            return 0

    def readiness(self) -> int:
        """Return the status of /readyz, which answers behind the proxy only."""
        return int(self.compose("exec", "-T", "web", "python", "-c", READYZ))

    def secrets(self) -> set[str]:
        """Return the names of the secrets that were made."""
        return {file.name for file in (self.project.path / "secrets").iterdir()}

    def production_env(self, line: str) -> AbstractContextManager[None]:
        """Add a line to production.env for the duration of the context."""
        return line_added(self.project.path / "production.env", line)

    def numbers(self) -> set[int]:
        """Return the numbers that are in the database."""
        rows = "Entry.objects.values_list('number', flat=True)"
        return set(
            json.loads(self.python(f"import json; from ledger.models import Entry; print(json.dumps(list({rows})))"))
        )

    def releases(self) -> list[list[str]]:
        """Return the words of each line in data/releases, without the time: the version, and its images."""
        text = (self.project.path / "data" / "releases").read_text(encoding="utf-8")
        return [line.split()[1:] for line in text.splitlines()]

    def latest(self) -> str:
        """Return the version that data/releases ends with."""
        return self.releases()[-1][0]


class Site(Production):
    """A site whose versions are variants of one image, called good."""

    def variant(self, tag: str, *lines: str) -> None:
        """Build a version from the deployed one, with these further lines in its Dockerfile."""
        text = "\n".join([f"FROM {self.project.slug}:good", "USER root", *lines, "USER 10001:10001", ""])
        folder = self.project.path / "data" / "variant"
        folder.mkdir(exist_ok=True)
        (folder / "Dockerfile").write_text(text, encoding="utf-8")
        self.project.docker("build", "--quiet", "--tag", f"{self.project.slug}:{tag}", str(folder))

    def deploy(self, tag: str, fails: bool = False) -> str:
        """Deploy a version, and return what was printed."""
        with self.tagged(tag):
            return self.make("deploy", fails=fails)

    @contextmanager
    def tagged(self, tag: str) -> Iterator[None]:
        """Make `make deploy` deploy a version."""
        before = self.project.environment.get("TAG", "good")
        self.project.environment["TAG"] = tag
        try:
            yield
        finally:
            self.project.environment["TAG"] = before

    def serving(self) -> str:
        """Return the version of the container that Caddy sends requests to."""
        name = (self.project.path / "data" / "front" / "web").read_text(encoding="utf-8").strip()
        state = self.project.inspect(name)
        assert state["State"]["Running"]
        return str(state["Config"]["Image"]).rpartition(":")[2]


@dataclass
class Load:
    """Four clients that write one number after the other, and record the responses."""

    site: Production
    first: int
    size: int = 10
    pace: float = 40  # requests a second at most, of all clients
    acknowledged: set[int] = field(default_factory=set)
    answers: list[tuple[int, float]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Load:
        self._threads = [threading.Thread(target=self._write, args=[client]) for client in range(4)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if kind:  # the test fails: say what the site was doing
            print("The last responses:", self.answers[-20:])
            print(self.site.compose("ps", "--all"), self.site.compose("logs", "--tail", "20"), sep="\n")

    def _write(self, client: int) -> None:
        number = self.first + client
        while not self._stop.is_set():
            start = time.monotonic()
            status = self.site.status(f"/ledger/{number}/?size={self.size}", method="POST")
            self.answers.append((status, time.monotonic() - start))
            if status == 201:
                self.acknowledged.add(number)
            number += 4
            self._stop.wait(max(0.0, start + 4 / self.pace - time.monotonic()))


def add_ledger(project: Project) -> None:
    """Add an app that stores numbered entries to a project, with its migration and pages, and commit it."""
    add_app(project, APP)
    urls = project.path / "config" / "urls.py"
    urls.write_text(urls.read_text(encoding="utf-8") + URLS, encoding="utf-8")
    project.run("docker", "compose", "run", "--rm", "--build", "web", "python", "manage.py", "makemigrations")
    project.compose("down", "--volumes")
    project.commit("Add a ledger")
