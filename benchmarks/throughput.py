"""Requests a second: which server and which settings, for which pages, and what the site itself adds to a request.

A closed loop: wrk keeps a number of connections, each of which sends a request when it has the answer to the one
before. The servers of a page run beside each other and take turns in each round, so that what else the machine does
hits all alike.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import sys
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from benchmarks.measure import REFERENCE, RUNS, Bench, answered, running
from tests.support import matrix
from tests.support.project import remove_images, until
from tests.support.servers import Site

HERE = Path(__file__).parent
DEFAULT = "2 x 4"
GRANIAN = ("python", "-m", "granian", "--factory", "--interface")
GUNICORN = ("python", "-m", "gunicorn", "--bind=0.0.0.0:8000", "--worker-class=gthread", "--workers=2", "--threads=4")


@dataclass(frozen=True)
class Server:
    """One way to serve the site."""

    variables: dict[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()  #: empty for the image's own
    image: str = ""  #: what is added to the name of the site's image


def sized(workers: int, threads: int, **variables: str) -> Server:
    """Return the site's own server with so many workers, and threads in each."""
    sizes = {"GRANIAN_WORKERS": str(workers), "GRANIAN_BLOCKING_THREADS": str(threads)}
    return Server({**sizes, **variables})


SERVERS = {
    DEFAULT: Server(),
    "bare Django": Server(
        {"DJANGO_SETTINGS_MODULE": "config.bare"}, (*GRANIAN, "wsgi", "django.core.wsgi:get_wsgi_application")
    ),
    "without ops/front.py": Server({}, ("python", "-m", "granian", "--interface", "wsgi", "config.wsgi:application")),
    "Gunicorn": Server({}, (*GUNICORN, "config.wsgi:application"), "-gunicorn"),
    "Django's ASGI": Server(
        {"GRANIAN_BLOCKING_THREADS": "1"}, (*GRANIAN, "asginl", "django.core.asgi:get_asgi_application")
    ),
    "1 x 8": sized(1, 8),
    "2 x 1": sized(2, 1),
    "2 x 8": sized(2, 8),
    "4 x 4": sized(4, 4),
    "2 x 32": sized(2, 32),
    "2 x 64": sized(2, 64),
    "2 x 32, pool of 32": sized(2, 32, DATABASE_POOL_SIZE="32"),
    "pool of 4": sized(2, 4, DATABASE_POOL_SIZE="4"),
    "runtime mt": sized(2, 4, GRANIAN_RUNTIME_MODE="mt", GRANIAN_RUNTIME_THREADS="2"),
}


@dataclass(frozen=True)
class Page:
    """A page, and the servers that it is asked of."""

    what: str
    path: str
    connections: int
    servers: tuple[str, ...]


SHARE = (DEFAULT, "bare Django", "without ops/front.py", "Gunicorn")
PAGES = (
    Page("`/livez`", "/livez", 16, (DEFAULT, "Gunicorn")),
    Page("a number from one query", "/bench/count/", 16, SHARE),
    Page(
        "a page with ten rows from one query",
        "/bench/query/",
        16,
        (*SHARE, "Django's ASGI", "1 x 8", "2 x 1", "2 x 8", "4 x 4", "pool of 4", "runtime mt"),
    ),
    Page("5 ms of Python", "/bench/compute/", 16, (DEFAULT, "2 x 1", "2 x 8", "4 x 4")),
    Page("one query, then 50 ms of waiting", "/bench/wait/", 128, (DEFAULT, "2 x 32", "2 x 32, pool of 32")),
    Page("the same, its connection closed before", "/bench/wait-closed/", 128, (DEFAULT, "2 x 32", "2 x 64")),
    Page("the same in an `async` view", "/bench/wait-async/", 128, (DEFAULT, "2 x 64", "Django's ASGI")),
)


# What `make benchmark` asks beside all else: what the site adds, and how many waiting views it serves.
BRIEF = tuple(
    replace(page, servers=tuple(name for name in page.servers if name in (*SHARE, "2 x 32")))
    for page in (*PAGES[:3], PAGES[5])
)


@dataclass
class Rate:
    """What one server did with one page, in all rounds."""

    page: str
    server: str
    per_second: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)  #: milliseconds of the container, for each request
    slow: list[float] = field(default_factory=list)  #: milliseconds within which 99% were answered


class Bout:
    """The servers of a page, and what sends them requests."""

    def __init__(self, site: Site, page: Page) -> None:
        """Start the servers, and wait until they answer."""
        self.site, self.project, self.page = site, site.project, page
        self.rates: dict[str, Rate] = {}  # container -> what it did
        for number, name in enumerate(page.servers):
            server, service = SERVERS[name], f"bench-{number}"
            options = ("--detach", "--no-healthcheck", "--publish", "127.0.0.1:0:8000")
            # The worker that is ready first can get all connections: its queue must have room for them.
            variables = site.variables | {"WEB_QUEUE": "200"} | server.variables
            site.run(
                service, f"{self.project.slug}{server.image}", *server.command, options=options, variables=variables
            )
            self.rates[site.containers[service]] = Rate(page.what, name)
        for container in self.rates:
            until(partial(answered, f"{self.project.address(container)}{page.path}"), 60)
            self.send(container, 1)

    def send(self, container: str, seconds: int) -> str:
        """Send requests to a server, and return what wrk prints."""
        command = ("wrk", "--latency", "-t1", f"-c{self.page.connections}", f"-d{seconds}s", "-H", "Host: localhost")
        url = f"http://{container}:8000{self.page.path}"
        printed = self.project.docker("exec", self.site.containers["load"], *command, url)
        assert not re.search("Non-2xx|Socket errors", printed), f"{self.rates[container].server}: {printed}"
        return printed

    def cpu(self, container: str) -> float:
        """Return the milliseconds of processor time that a server's processes have used."""
        lines = self.project.docker("exec", container, "sh", "-c", "cat /proc/[0-9]*/stat").splitlines()
        ticks = sum(int(number) for line in lines for number in line.rpartition(")")[2].split()[11:13])
        return ticks * 1000 / os.sysconf("SC_CLK_TCK")

    def round(self, seconds: int) -> None:
        """Measure each server once."""
        for container, rate in self.rates.items():
            before = self.cpu(container)
            printed = self.send(container, seconds)
            used = self.cpu(container) - before
            rate.per_second.append(value(printed, r"Requests/sec: +([\d.]+)()"))
            rate.cpu.append(used / value(printed, r"(\d+)() requests in"))
            rate.slow.append(value(printed, r"99% +([\d.]+)(us|ms|s)"))

    def remove(self) -> None:
        """Remove the servers."""
        self.project.docker("rm", "--force", *self.rates)


def value(printed: str, pattern: str) -> float:
    """Return a number that wrk printed; a time in milliseconds."""
    found = re.search(pattern, printed)
    assert found, printed
    return float(found[1]) * {"us": 0.001, "ms": 1, "s": 1000, "": 1}[found[2]]


def throughput(bench: Bench, pages: tuple[Page, ...], seconds: int) -> list[Rate]:
    """Measure pages, for so many seconds in each round, and show the rates as they come."""
    project = bench.project(REFERENCE)
    shutil.copytree(HERE / "site", project.path, dirs_exist_ok=True)
    project.edit("config/urls.py", 'name="home"),\n', 'name="home"),\n    path("", include("config.bench")),\n')
    images = {"load": f"BASE={matrix.images(project.combination)[0]}", "gunicorn": f"SITE={project.slug}"}
    rates: list[Rate] = []
    try:
        project.docker("build", "--quiet", "--tag", project.slug, ".")
        for name, argument in images.items():
            file, tag = HERE / f"{name}.Dockerfile", f"{project.slug}-{name}"
            project.docker("build", "--quiet", "--build-arg", argument, "--file", str(file), "--tag", tag, str(HERE))
        with running(project) as site:
            site.run("load", f"{project.slug}-load")
            site.python(USERS)
            for page in pages:
                bout = Bout(site, page)
                for _ in range(RUNS):
                    bout.round(seconds)
                bout.remove()
                rates += bout.rates.values()
                print(table(list(bout.rates.values())), file=sys.stderr, flush=True)
    finally:
        project.docker("image", "rm", "--force", *(f"{project.slug}-{name}" for name in images))
        remove_images(project)
    return rates


USERS = """
from accounts.models import User
User.objects.bulk_create(User(username=f"user-{number}") for number in range(100))
"""


def table(rates: list[Rate]) -> str:
    """Return the rates as a table, each with its ratio to the default's in the same rounds."""
    lines = [
        "| page | served by | requests/s | from - to | of the default | CPU ms each | 99% within |",
        "|---|---|---|---|---|---|---|",
    ]
    default: list[float] = []
    for rate in rates:
        if rate.server == DEFAULT:
            default = rate.per_second
        ratio = statistics.median(one / other for one, other in zip(rate.per_second, default, strict=True))
        cells = (
            *(rate.page, rate.server, f"{statistics.median(rate.per_second):.0f}"),
            *(f"{min(rate.per_second):.0f} - {max(rate.per_second):.0f}", f"{ratio:.2f}"),
            *(f"{statistics.median(rate.cpu):.2f}", f"{statistics.median(rate.slow):.0f} ms"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
