"""The first hour as the READMEs lead through it: from the clone of the template to a deployed change, step by step.

The seconds of each step are written to reports/first-hour.md; docs/first-hour.md has those of one run.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, ProxyHandler, Request, build_opener

import pytest

from tests.engine import Engine, ensure_image
from tests.support import matrix
from tests.support.day import PASSWORD, create_account, write_app
from tests.support.matrix import ROOT, Combination
from tests.support.production import Production
from tests.support.project import DOWN, Project, clean_up, free_port, get, own_project, until
from tests.support.recipes import follow
from tests.support.releases import git

pytestmark = pytest.mark.rotates(
    seconds=120,
    touched_by=["README.md", "docs/first-hour.md", "template/README.md.jinja", "hooks/readme/compose.md"],
)
REPORT = ROOT / "reports" / "first-hour.md"


class Visitor:
    """A browser without a window, signed in or not."""

    def __init__(self, site: str) -> None:
        self.site = site
        self.opener = build_opener(ProxyHandler({}), HTTPCookieProcessor(CookieJar()))

    def read(self, path: str) -> str:
        """Return a page."""
        with self.opener.open(f"{self.site}{path}", timeout=60) as answer:
            return str(answer.read().decode())

    def can_read(self, path: str) -> bool:
        """Return whether a page is there."""
        try:
            return bool(self.read(path))
        except OSError:
            return False

    def fill(self, path: str, **fields: str) -> str:
        """Send the form on a page, and return the page that follows."""
        found = re.search('name="csrfmiddlewaretoken" value="(.+?)"', self.read(path))
        assert found, f"{path} has no form"
        form = urlencode({**fields, "csrfmiddlewaretoken": found[1]}).encode()
        request = Request(f"{self.site}{path}", form, {"Referer": f"{self.site}{path}"})
        with self.opener.open(request, timeout=60) as answer:
            return str(answer.read().decode())


class Walk:
    """The steps so far, and the seconds that each took."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, float]] = []

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Time a step."""
        start = time.monotonic()
        yield
        self.steps.append((what, time.monotonic() - start))

    def table(self) -> str:
        """Return them as a table."""
        rows = [f"| {what} | {seconds:.1f} |" for what, seconds in self.steps]
        total = sum(seconds for _, seconds in self.steps)
        return "\n".join(["| step | s |", "|---|---|", *rows, f"| together | {total:.0f} |", ""])


def copy(engine: Engine, folder: Path, combination: Combination) -> Project:
    """Generate the project from the clone of the template beside it, and commit it."""
    data = [f"--data={name}={answer}" for name, answer in combination.data.items()]
    copier = [sys.executable, "-m", "copier", "copy", "--quiet", "--defaults", "--vcs-ref", "HEAD", *data]
    project = Project(folder.parent, combination, engine)
    project.run(*copier, "slipway", folder.name)
    project = own_project(folder, combination, engine)
    git("init", "--quiet", "--initial-branch", "main", at=folder)
    project.commit("Start")
    return project


def test_the_first_hour(engine: Engine, tmp_path: Path, record: Callable[[str, str], None]) -> None:
    ensure_image(engine, "caddy:2")
    combination = Combination("slipway-hour", matrix.pick(database="postgres", use_drf=True, use_celery=True).answers)
    for image in matrix.images(combination):
        ensure_image(engine, image)
    walk = Walk()
    with walk.step("`git clone` the template"):
        git("clone", "--quiet", str(ROOT), "slipway", at=tmp_path)
    with walk.step("`copier copy`, with PostgreSQL and Celery, and a first commit"):
        project = copy(engine, tmp_path / "ada's site", combination)
    project.compose(*DOWN)
    production = Production(project, free_port(), free_port())
    try:
        develop(walk, project)
        deploy(walk, production)
    finally:
        production.remove()
        clean_up(project)
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(walk.table(), encoding="utf-8")
    record("first hour", f"{sum(seconds for _, seconds in walk.steps):.0f} s in {len(walk.steps)} steps")
    page = (ROOT / "docs" / "first-hour.md").read_text(encoding="utf-8")
    steps = re.findall(r"(?m)^\| (?!together)(.+) \| [\d.]+ \|$", page)
    assert steps == [what for what, _ in walk.steps], "docs/first-hour.md has other steps than reports/first-hour.md"


def develop(walk: Walk, project: Project) -> None:
    """Start the site, and change it as a team does in its first hour."""
    with walk.step("`docker compose up`, until the site answers"):
        project.compose("up", "--build", "--detach", "--wait")
    site = project.address(project.container("web"))
    with walk.step("`make createsuperuser`, and sign in to the admin"):
        create_account(project, "ada")
        visitor = Visitor(site)
        assert "Site administration" in visitor.fill("/admin/login/?next=/admin/", username="ada", password=PASSWORD)
    with walk.step("`make startapp NAME=blog`"):
        project.run("make", "startapp", "NAME=blog")
    with walk.step("a model with its admin: `make makemigrations`, `make migrate`"):
        write_app(project)
        project.run("make", "makemigrations")
        project.run("make", "migrate")
    with walk.step("a post in the admin"):
        until(lambda: visitor.can_read("/admin/blog/post/add/"))  # the server reloads
        assert "was added successfully" in visitor.fill("/admin/blog/post/add/", title="First")
        assert "First" in visitor.read("/admin/blog/post/")
    with walk.step("`make test`"):
        assert "blog/tests.py ." in project.run("make", "test")
    with walk.step("`make format`, `make lint`"):
        project.run("make", "format")
        project.run("make", "lint")
    with walk.step("a background task, until its result is there"):
        ada = project.sign_in("eve")
        exports = f"{site}/api/v1/exports/"
        sent = json.loads(get(exports, ada, method="POST").text)
        until(lambda: "SUCCESS" in get(f"{exports}{sent['id']}/", ada).text)
    with walk.step("a translation: `make messages`, twice"):
        collect, compile_ = follow(project, "A translated language")
        project.run("sh", "-ec", collect)
        text = 'msgid "Have a good day."\nmsgstr ""'
        project.edit("locale/de/LC_MESSAGES/django.po", text, text[:-1] + 'Schönen Tag!"')
        project.run("sh", "-ec", compile_)
        until(lambda: "Schönen Tag!" in get(f"{site}/", {"Accept-Language": "de"}).text)
    project.run("make", "down")
    project.commit("Add a blog, in two languages")


def deploy(walk: Walk, production: Production) -> None:
    """Deploy it, back it up, and deploy a change."""
    with walk.step("`make secrets`, and the first `make deploy`, until HTTPS answers"):
        production.make("secrets")
        production.configure(114)
        production.deploy_commit()
        assert production.ask("/")[0] == 200
    with walk.step("`make backup`"):
        file = production.lines("backup")[-1]
        assert (production.project.path / file).exists()
    with walk.step("a change of the home page: `git commit`, `make deploy`"):
        production.project.edit("templates/home.html", "Welcome.", "Welcome to the blog.")
        production.project.commit("Edit the home page")
        production.deploy_commit()
        assert b"Welcome to the blog." in production.ask("/")[2]
