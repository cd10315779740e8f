"""Sites of old releases, in use while they are updated: all their data survives."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from tests.engine import Engine, ensure_image
from tests.support import matrix
from tests.support.ledger import LEDGER
from tests.support.matrix import Combination
from tests.support.production import Production, any_certificate
from tests.support.project import add_app, clean_up, free_port, own_project, until
from tests.support.releases import git, releases
from tests.support.rendered import tool
from tests.support.updates import milestones, render

pytestmark = pytest.mark.rotates(
    seconds=400,
    touched_by=[
        *("template/*compose*", "hooks/docker/*", "hooks/deploy/compose.sh", "hooks/secrets/files.sh"),
        *("template/*/migrations/*", "hooks/compose/*", "hooks/production/*", "hooks/moved.py"),
        *("tests/support/production.py", "tests/support/updates.py"),
    ],
)

ROWS, TASKS = 40, 20
PASSWORD = "correct-horse-battery"
# The ledger, with a task that adds a row.
APP = LEDGER | {
    "tasks.py": """
from celery import shared_task
from django.core.files.base import ContentFile

from ledger.models import Entry


@shared_task
def enter(number):
    text = f"{number} is Ærø 日本 😀"
    Entry.objects.create(number=number, text=text, file=ContentFile(text.encode() * 100, f"{number}.txt"))
""",
}
SEED = f"""
from accounts.models import User
from ledger.tasks import enter
User.objects.create_superuser("ada", password="{PASSWORD}")
for number in range({ROWS}):
    enter(number)
"""
SEND = f"""
from ledger.tasks import enter
for number in range({ROWS}, {ROWS + TASKS}):
    enter.delay(number)
"""
# Prints each row with its file's content, and the number of rows in every table.
LOOK = """
import json
from django.apps import apps
from ledger.models import Entry
entries = {entry.number: [entry.text, entry.file.name, entry.file.read().decode()] for entry in Entry.objects.all()}
tables = {model._meta.label: model._default_manager.count() for model in apps.get_models()}
print(json.dumps([entries, tables]))
"""


def cases() -> list[Any]:
    """Return every database with every release to start from; the other answers vary, but all have a queue.

    Development is tested from the oldest release only: it differs in where the data is stored.
    """
    oldest = next(iter(releases()))
    found = []
    for number, database in enumerate(matrix.choices("database")):
        answers = {"database": database, "use_celery": True, "use_drf": number % 2 == 1, "multi_stage": number > 0}
        combination = Combination(f"slipway-continuity-{database}", matrix.pick(**answers).answers)
        for release in milestones(list(releases())):
            found.append(pytest.param(combination, release, Deployed, id=f"{database}-{release}-production"))
        found.append(pytest.param(combination, oldest, Development, id=f"{database}-{oldest}-development"))
    return found


class Deployed(Production):
    """The site in production on one host, deployed as in the README."""

    @property
    def address(self) -> str:
        """The site's URL."""
        return f"https://localhost:{self.https_port}"

    def prepare(self) -> None:
        """Prepare the first deployment."""
        self.make("secrets")
        self.configure(78 + matrix.choices("database").index(self.project.database))

    def start(self) -> None:
        """Deploy the checked-out commit."""
        self.deploy_commit()


class Development(Deployed):
    """The site on a developer's machine."""

    @property
    def address(self) -> str:
        """The site's URL."""
        return f"http://localhost:{self.http_port}"

    def compose(self, *arguments: str, fails: bool = False) -> str:
        """Run `docker compose` on the development stack."""
        return self.project.compose(*arguments, fails=fails)

    def prepare(self) -> None:
        """Choose the port."""
        self.project.environment["PORT"] = str(self.http_port)

    def start(self) -> None:
        """Start the checked-out commit."""
        self.compose("up", "--build", "--detach", "--wait")

    def remove(self) -> None:
        """Remove the site."""
        clean_up(self.project)


@dataclass
class Browser:
    """A visitor of a site, with a cookie jar."""

    site: Deployed
    cookies: CookieJar = field(default_factory=CookieJar)

    def ask(self, path: str, **form: str) -> tuple[str, bytes]:
        """Get a page, or submit a form; return the final path and the content. OSError on failure."""
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=any_certificate()),
            urllib.request.HTTPCookieProcessor(self.cookies),
        )
        url = self.site.address + path
        request = urllib.request.Request(url, urlencode(form).encode() if form else None, {"Referer": url})
        with opener.open(request, timeout=60) as answer:
            return urlsplit(answer.url).path, answer.read()

    def sign_in(self) -> None:
        """Sign in to the admin; AssertionError if the login fails."""
        self.ask("/admin/login/")
        token = next(str(cookie.value) for cookie in self.cookies if cookie.name == "csrftoken")
        form = {"username": "ada", "password": PASSWORD, "csrfmiddlewaretoken": token, "next": "/admin/"}
        assert self.ask("/admin/login/", **form)[0] == "/admin/", "the login failed"

    def is_signed_in(self) -> bool:
        """Return whether the session is still valid in the admin."""
        return self.ask("/admin/")[0] == "/admin/"


@pytest.fixture
def site(
    made_as: Combination, release: str, kind: type[Deployed], template: Path, tmp_path: Path, engine: Engine
) -> Iterator[Deployed]:
    """A project of an old release with an app that stores rows, before its first start."""
    ensure_image(engine, "caddy:2")
    project = own_project(render(template, tmp_path / "site", made_as.data, release), made_as, engine)
    add_app(project, APP)
    project.commit("Keep a ledger")
    made = kind(project, free_port(), free_port())
    try:
        made.prepare()
        yield made
    finally:
        made.remove()


def look(site: Deployed) -> tuple[dict[str, list[str]], dict[str, int]]:
    """Return the rows of the ledger, each with its file's name and content, and the number of rows in each table."""
    entries, tables = json.loads(site.python(LOOK).splitlines()[-1])
    return entries, tables


@pytest.mark.parametrize(("made_as", "release", "kind"), cases())
def test_an_update_loses_nothing(site: Deployed, record: Callable[[str, str], None]) -> None:
    project = site.project
    site.start()
    site.python(SEED)
    ada = Browser(site)
    ada.sign_in()
    site.compose("stop", "worker")
    site.python(SEND)
    entries, tables = look(site)
    assert len(entries) == ROWS, "the tasks ran too early"

    project.run(tool("copier"), "update", "--defaults", "--vcs-ref", "HEAD")
    assert git("ls-files", "--unmerged", at=project.path) == ""
    if git("diff", "--name-only", "HEAD", "--", "pyproject.toml", at=project.path):
        project.run("make", "lock")
    project.commit("Update")
    site.start()

    kept = sum(look(site)[0].get(number) == entry for number, entry in entries.items())
    assert kept == ROWS, f"{kept} of {ROWS} rows are as they were, with their files"
    with suppress(AssertionError):  # tables with fewer rows
        until(lambda: len(look(site)[0]) >= ROWS + TASKS, every=1)
    entries_after, tables_after = look(site)
    record("before", f"{len(entries)} rows with files, {TASKS} tasks waiting, {sum(tables.values())} rows in all")
    record("after", f"{len(entries_after)} rows with files, {sum(tables_after.values())} rows in all")
    done = set(entries_after) - set(entries)
    assert done == {str(number) for number in range(ROWS, ROWS + TASKS)}, f"{len(done)} of {TASKS} tasks are done"
    fewer = {table: (count, tables_after.get(table, 0)) for table, count in tables.items()}
    assert all(before <= after for before, after in fewer.values()), f"table: before, after: {fewer}"
    assert ada.is_signed_in(), "the session was lost"
    Browser(site).sign_in()
    for _, name, content in entries_after.values():
        assert ada.ask(f"/media/{name}")[1].decode() == content
