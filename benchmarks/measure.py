"""What is measured: sizes, builds, starts and the development loop of the telling combinations."""

from __future__ import annotations

import itertools
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import copier

from tests.engine import ensure_engine, ensure_image, reuse_bytecode
from tests.support import matrix
from tests.support.images import largest
from tests.support.matrix import ROOT, Combination
from tests.support.project import Project, clean_up, get, own_project, remove_images, until
from tests.support.releases import clone_with_releases, commit_all, git, known, releases
from tests.support.servers import Site, ensure_server, remove_servers

RUNS = 5
REFERENCE = "py3.14-postgres-drf-multi"
TELLING = ("py3.14-sqlite-no-drf-multi", REFERENCE, "py3.14-postgres-drf-celery-multi", "py3.14-postgres-drf-single")
DEVELOPED = TELLING[:2]  # the combinations whose development loop is measured
# Budgets: of seconds, or of MB. Those of what an image adds are in tests/support/images.py.
BUDGETS = {
    "render": 0.5,
    "update": 3,
    "cold": 8,
    "view": 0.6,
    "template": 0.6,
    "model": 1.5,
    "static": 1.5,
    "lock": 4.5,
    "development": 4,
    "first": 0.9,
    "healthy": 1.2,
    "stop": 0.5,
    "memory": 110,
    "up": 5,
    "one test": 1,
    "tests": 4,
    "lint": 1,
    "reload": 1.5,
}
# An edit -> the file that it changes.
EDITS = {
    "view": "config/views.py",
    "template": "templates/home.html",
    "model": "accounts/models.py",
    "static": "static/site.css",
    "lock": "requirements.txt",
}
WHAT = {
    "bare": "a container that starts Python and ends",
    "render": "render in process",
    "update": "`copier update` from the oldest release, in process",
    "added": "added to the base image",
    "cold": "build, no layer cached, warm package caches",
    "development": "build of the development image, after production's",
    "download": "build with `--no-cache`, which empties the package caches too",
    "view": "rebuild after an edit of a view",
    "template": "rebuild after an edit of a template",
    "model": "rebuild after an edit of a model",
    "static": "rebuild after an edit of a style sheet",
    "lock": "rebuild after an edit of the lock",
    "first": "from `docker run` to the first 200",
    "healthy": "from `docker run` to healthy",
    "stop": "`docker stop`",
    "memory": "two workers at rest",
    "up": "`docker compose up --wait`, image built",
    "one test": "one test, in a running project",
    "tests": "`make test`",
    "lint": "`make lint`, warm",
    "reload": "from an edit of a view to its answer",
}


@dataclass(frozen=True)
class Figure:
    """One row: the results of all runs, and what they should be at most."""

    name: str  #: a key of WHAT
    combination: str  #: empty for what concerns the template
    unit: str
    runs: list[float]
    budget: float | None

    @property
    def median(self) -> float:
        """The median of all runs."""
        return statistics.median(self.runs)


def edit(path: Path) -> Callable[[], object]:
    """Return an action that changes a file, by one more comment or line of white space."""
    counter = itertools.count(time.time_ns())
    comment = {".html": "{{# {} #}}", ".css": "/* {} */"}.get(path.suffix, "# {}")
    return lambda: path.write_text(f"{path.read_text()}{comment.format(next(counter))}\n", encoding="utf-8")


def timed(action: Callable[[], object], before: Callable[[], object] = lambda: None, runs: int = RUNS) -> list[float]:
    """Return the seconds that `action` takes in each run; `before` runs ahead of it, and is not counted."""
    found = []
    for _ in range(runs):
        before()
        start = time.perf_counter()
        action()
        found.append(time.perf_counter() - start)
    return found


def as_before(path: Path) -> None:
    """Put a repository back to its commit."""
    git("reset", "--quiet", "--hard", at=path)
    git("clean", "--quiet", "--force", "-d", at=path)


class Bench:
    """Measures projects that it renders into one temporary folder, and collects the figures."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine = ensure_engine()
        self.figures: list[Figure] = []

    def note(self, name: str, combination: str, unit: str, runs: list[float], budget: float | None = None) -> None:
        """Add a figure, and show it."""
        figure = Figure(name, combination, unit, runs, BUDGETS.get(name, budget))
        self.figures.append(figure)
        limit = f" (budget {figure.budget:g})" if figure.budget is not None else ""
        print(
            f"{combination or 'template'}: {WHAT[name]}: {figure.median:.2f} {unit}{limit}", file=sys.stderr, flush=True
        )

    def time(
        self, name: str, combination: str, action: Callable[[], object], before: Callable[[], object] = lambda: None
    ) -> None:
        """Add the seconds that `action` takes; `before` runs ahead of each `action`, and is not counted."""
        self.note(name, combination, "s", timed(action, before))

    def project(self, name: str) -> Project:
        """Render a combination under a name that no other project has, and make its base images available."""
        origin = matrix.combination(name)
        combination = Combination(f"bench-{name}", origin.answers)
        path = self.folder / combination.slug
        copier.run_copy(str(ROOT), path, data=combination.data, vcs_ref="HEAD", quiet=True, overwrite=True)
        git("init", "--quiet", "--initial-branch", "main", at=path)
        commit_all(path)
        for image in matrix.images(combination):
            ensure_image(self.engine, image)
        return own_project(path, combination, self.engine)

    def template(self) -> None:
        """Measure a render and an update, and the yardstick of this machine."""
        reference = self.project(REFERENCE)
        base = matrix.images(reference.combination)[0]
        reuse_bytecode(self.engine, base, False)
        self.time("bare", "", lambda: reference.docker("run", "--rm", base, "python", "-c", "pass"))
        data = reference.combination.data
        target = self.folder / "render"
        self.time(
            "render",
            "",
            lambda: copier.run_copy(str(ROOT), target, data=data, vcs_ref="HEAD", quiet=True, overwrite=True),
        )
        template = clone_with_releases(self.folder / "template")
        team = self.folder / "team"
        oldest = next(iter(releases()))
        copier.run_copy(str(template), team, data=known(template, oldest, data), vcs_ref=oldest, quiet=True)
        git("init", "--quiet", at=team)
        commit_all(team)
        self.time(
            "update",
            "",
            lambda: copier.run_update(team, vcs_ref="HEAD", defaults=True, overwrite=True, quiet=True),
            lambda: as_before(team),
        )

    def image(self, name: str) -> None:
        """Measure a combination's production image: its size, its builds, its start and its memory."""
        project = self.project(name)

        def build() -> None:
            project.docker("build", "--quiet", "--tag", project.slug, ".")

        try:
            build()
            self.builds(name, project, build)
            with running(project) as site:
                self.starts(name, site)
        finally:
            remove_images(project)

    def builds(self, name: str, project: Project, build: Callable[[], None]) -> None:
        """Measure what an image adds to its base, and how long it takes to build it again."""
        base = project.inspect(matrix.images(project.combination)[0])["Size"]
        added = (project.inspect(project.slug)["Size"] - base) / 1e6
        self.note("added", name, "MB", [added], largest(project.combination.answers))
        if name == REFERENCE:
            self.time("download", name, lambda: project.docker("build", "--no-cache", "--tag", project.slug, "."))
            build()
        restart = edit(project.path / "scripts" / "packages.sh")

        def production() -> None:
            restart()
            build()

        self.time("cold", name, build, restart)
        self.time("development", name, lambda: project.compose("build"), production)
        for what, file in EDITS.items():
            self.time(what, name, build, edit(project.path / file))

    def starts(self, name: str, site: Site) -> None:
        """Measure the start and the end of a site that has been migrated, and what it needs."""
        project = site.project
        options = ("--detach", "--publish", "127.0.0.1:0:8000")

        def start() -> None:
            site.run("web", project.slug, options=options)

        def answers() -> None:
            start()
            address = project.address(site.containers["web"])
            until(lambda: answered(f"{address}/"), 60, every=0.01)

        def healthy() -> None:
            start()
            until(lambda: health(project, site.containers["web"]) == "healthy", 60, every=0.02)

        def remove() -> None:
            project.docker("rm", "--force", site.containers["web"])

        self.time("first", name, answers, remove)
        memory = project.docker("stats", "--no-stream", "--format", "{{.MemUsage}}", site.containers["web"])
        found = re.match(r"([\d.]+)MiB", memory)
        assert found, memory
        self.note("memory", name, "MB", [float(found[1]) * 1.048576])
        self.time("healthy", name, healthy, remove)

        def again() -> None:
            remove()
            answers()

        self.time("stop", name, lambda: project.docker("stop", site.containers["web"]), again)

    def loop(self, name: str) -> None:
        """Measure how a developer works on a combination: start, edit, test, lint."""
        project = self.project(name)
        down = ("down", "--volumes", "--timeout", "1")
        project.compose("build")
        try:
            self.time("up", name, lambda: project.compose("up", "--detach", "--wait"), lambda: project.compose(*down))
            view = project.path / "config" / "views.py"
            site = project.address(project.container("web"))
            signature = "def home(request: HttpRequest) -> HttpResponse:\n"
            project.edit("config/views.py", signature, f"{signature}    return HttpResponse('mark-')\n")
            marks = itertools.count()
            mark = ""

            def change() -> None:
                nonlocal mark
                mark = f"mark-{next(marks)}"
                view.write_text(re.sub(r"'mark-.*'", repr(mark), view.read_text()), encoding="utf-8")
                until(shown, 60, every=0.02)

            def shown() -> bool:
                try:
                    return get(f"{site}/").text == mark
                except OSError:  # the server is reloading
                    return False

            # runserver does not notice an edit in the second in which it starts.
            self.time("reload", name, change, lambda: time.sleep(2))
            git("checkout", "--quiet", ".", at=project.path)
            one = "ARGS=tests -k welcome"
            project.run("make", "test", one)
            self.time("one test", name, lambda: project.run("make", "test", one))
            self.time("tests", name, lambda: project.run("make", "test"))
            project.run("make", "lint")
            self.time("lint", name, lambda: project.run("make", "lint"))
        finally:
            clean_up(project)


@contextmanager
def running(project: Project) -> Iterator[Site]:
    """Yield a combination's site with a database of its own, migrated, with the defaults of its image."""
    site = Site(project, ensure_server(project, str(os.getpid())))
    try:
        site.start()
        for name in ("worker", "beat"):
            if name in site.containers:
                project.docker("rm", "--force", site.containers.pop(name))
        site.variables = {name: value for name, value in site.variables.items() if name not in TESTED}
        yield site
    finally:
        site.remove()
        remove_servers(project.engine, str(os.getpid()))  # with the database


TESTED = ("PYTHONWARNINGS", "GRANIAN_WORKERS")  # variables that a user does not set


def answered(url: str) -> bool:
    """Return whether a site serves a page."""
    try:
        return get(url).status == 200
    except OSError:
        return False


def health(project: Project, container: str) -> str:
    """Return a container's health, in Docker's words."""
    return project.docker("inspect", "--format", "{{.State.Health.Status}}", container).strip()
