"""Data of an older release or an older server survives an update, and commands that would destroy it are refused."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_copie.plugin import Copie

from tests.engine import Engine, ensure_image
from tests.support import matrix
from tests.support.data import COMMANDS, FILES, mode
from tests.support.matrix import Combination
from tests.support.production import Production
from tests.support.project import free_port, own_project, render_project
from tests.support.rendered import tool
from tests.support.roles import owns_its_database_alone
from tests.support.updates import render

pytestmark = pytest.mark.rotates(
    seconds=90,
    touched_by=["hooks/deploy/compose.sh", "*/production.sh*", "*backup*", "*restore*", "hooks/production/*"],
)

# The last release without data/belongs-to.
BEFORE = "v0.2.0"


class Site(Production):
    """A site that is known by its containers: its files say another name at times."""

    @property
    def slug(self) -> str:
        """The project's name."""
        return self.project.slug

    def python(self, code: str) -> str:
        """Run Python in the web container, with Django loaded."""
        command = ("python", "manage.py", "shell", "--no-imports", "-c", code)
        front = self.project.path / "data" / "front" / "web"  # releases up to v0.2.0 have none
        web = front.read_text(encoding="utf-8").strip() if front.exists() else f"{self.slug}-production-web-1"
        return self.project.docker("exec", web, *command).strip()

    def add_rows(self) -> None:
        """Create two accounts and an upload."""
        users = "[User.objects.create_user(name, password='correct horse') for name in ('ada', 'eve')]"
        upload = "default_storage.save('note.txt', ContentFile(b'kept'))"
        self.python(
            "from accounts.models import User; from django.core.files.base import ContentFile; "
            f"from django.core.files.storage import default_storage; {users}; {upload}"
        )

    def rows(self) -> str:
        """Return the current state of what `add_rows` created."""
        found = "*User.objects.order_by('username').values_list('username', flat=True)"
        log_in = "authenticate(request=HttpRequest(), username='ada', password='correct horse')"
        return self.python(
            "from accounts.models import User; from django.contrib.auth import authenticate; "
            "from django.http import HttpRequest; from django.core.files.storage import default_storage; "
            f"print({found}, {log_in}, default_storage.open('note.txt').read())"
        )

    def running(self) -> list[str]:
        """Return the running containers, and when each started."""
        label = f"label=com.docker.compose.project={self.slug}-production"
        ids = self.project.docker("ps", "--quiet", "--filter", label).split()
        return sorted(self.project.docker("inspect", "--format", "{{.Name}} {{.State.StartedAt}}", *ids).splitlines())

    def refuses(self, why: str) -> None:
        """Assert that every command fails with `why`, and that the site keeps running."""
        before = self.running(), self.rows()
        for command in COMMANDS:
            [line] = self.lines(*command, fails=True)
            assert line.startswith(why)
        assert (self.running(), self.rows()) == before

    def update(self, *data: str) -> str:
        """Run `copier update`, commit, and return its closing message."""
        answers = [option for each in data for option in ("--data", each)]
        said = self.project.run(tool("copier"), "update", "--defaults", "--vcs-ref", "HEAD", *answers)
        self.project.commit("Update")
        return said

    def undo(self) -> None:
        """Go back to the commit before."""
        self.project.run("git", "reset", "--quiet", "--hard", "HEAD^")

    def prepare(self, subnet: int) -> None:
        """Make its secrets, and choose its ports and its network."""
        self.make("secrets")
        self.configure(subnet, "GRANIAN_WORKERS=1")

    def remove(self) -> None:
        """Remove it, under each name that it had."""
        for slug in (self.slug, f"{self.slug}-too"):
            name = shlex.quote(f"{slug}-production")
            script = f"cd / && docker compose --project-name {name} down --volumes --timeout 1"
            script += f"; docker image rm --force $(docker image ls --quiet {slug})"
            self.project.run("sh", "-c", f"({script}) > /dev/null 2>&1 || true")


ROWS = "ada eve ada b'kept'"


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def older(request: pytest.FixtureRequest, template: Path, tmp_path: Path, engine: Engine) -> Iterator[Site]:
    """A project that was generated and deployed with the last release, with data."""
    ensure_image(engine, "caddy:2")
    number = 80 + list(FILES).index(request.param)
    answers = matrix.pick(database=request.param, use_celery=False).answers
    combination = Combination(f"slipway-older-{request.param}", answers)
    path = render(template, tmp_path / combination.slug, combination.data, BEFORE)
    site = Site(own_project(path, combination, engine), free_port(), free_port())
    try:
        site.prepare(number)
        site.make("deploy")
        site.add_rows()
        assert site.rows() == ROWS
        yield site
    finally:
        site.remove()


def test_an_older_deployment_goes_on(older: Site) -> None:
    data, database = older.project.path / "data", older.project.database
    # An update that also changes the project's name or its database: refused.
    older.update(f"project_slug={older.slug}-too")
    older.refuses(f"data/ belongs to {older.slug}, but project_slug is now {older.slug}-too")
    older.undo()
    other = "postgres" if database == "sqlite" else "sqlite"
    assert "starts empty" in older.update(f"database={other}")
    if other == "postgres":
        older.make("secrets")
    older.refuses(f"data/ was written by another database, and {FILES[other][1]} cannot read it")
    older.undo()
    # A plain update: backup and restore work, also before the next deploy.
    older.update()
    [backup] = older.lines("backup")
    assert older.lines("restore", f"FILE={backup}")[-1].startswith(f"{backup} is restored")
    assert older.rows() == ROWS
    older.make("deploy")
    assert older.rows() == ROWS
    assert (data / "belongs-to").read_text(encoding="utf-8") == f"{older.slug} {FILES[database][1]}\n"
    assert mode(data) == mode(data / "site") == 0o700
    if database == "sqlite":
        assert mode(data / "site" / "db.sqlite3") == 0o600
    if database == "postgres":
        owns_its_database_alone(older, "postgres", "bootstrap")
        assert older.lines("restore", f"FILE={backup}")[-1].startswith(f"{backup} is restored")
        owns_its_database_alone(older, "postgres", "bootstrap")
        assert older.rows() == ROWS
    # Another name, with the README's steps.
    said = older.update(f"project_slug={older.slug}-too")
    assert f"A host where {older.slug} is deployed refuses {older.slug}-too" in said
    older.refuses(f"data/ belongs to {older.slug}, but project_slug is now {older.slug}-too")
    readme = (older.project.path / "README.md").read_text(encoding="utf-8")
    [down] = re.findall(r"`(\(cd / && docker compose .* down\))`", readme)
    older.project.run("sh", "-ec", down.replace("OLD", older.slug))
    memory = data / "belongs-to"
    memory.write_text(memory.read_text(encoding="utf-8").replace(older.slug, f"{older.slug}-too"), encoding="utf-8")
    older.make("deploy")
    older.project.combination = Combination(f"{older.slug}-too", older.project.combination.answers)
    assert older.rows() == ROWS


def test_the_steps_from_an_older_major_version_of_postgres(copie_session: Copie, engine: Engine) -> None:
    for image in ("caddy:2", "postgres:17"):
        ensure_image(engine, image)
    combination = Combination("slipway-major", matrix.pick(database="postgres", use_celery=False).answers)
    project = render_project(copie_session, engine, combination)
    site = Site(project, free_port(), free_port())
    new = ("image: postgres:18", "data/postgres:/var/lib/postgresql")
    old = ("image: postgres:17", "data/postgres:/var/lib/postgresql/data")  # 17 keeps its data there
    try:
        for before, after in zip(new, old, strict=True):
            project.edit("compose.production.yaml", f"{before}\n", f"{after}\n")
        project.commit("Have the major version before")
        site.prepare(84)
        site.make("deploy")
        site.add_rows()
        owns_its_database_alone(site, "postgres", "bootstrap")
        for before, after in zip(old, new, strict=True):
            project.edit("compose.production.yaml", f"{before}\n", f"{after}\n")
        project.commit("Take the next major version")
        site.refuses("data/ was written by postgres 17, and postgres 18 cannot read it")
        readme = (project.path / "README.md").read_text(encoding="utf-8")
        steps = readme.partition("### Another database")[2].partition("```sh\n")[2].partition("```")[0]
        project.run("sh", "-ec", steps)
        assert site.rows() == ROWS
        version = project.docker("exec", f"{site.slug}-production-database-1", "psql", "--version")
        assert " 18" in version
        owns_its_database_alone(site, "postgres", "bootstrap")
        assert (project.path / "data" / "before" / "postgres" / "PG_VERSION").read_text(encoding="utf-8") == "17\n"
    finally:
        site.remove()
