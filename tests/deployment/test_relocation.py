"""A site moves: to another kind of database, to another host, and to a Swarm, by the commands of docs/production.md.

The branches that the page asks for are made by `copier update`. The other host is another folder on this machine: the
old one's containers are removed in between, as if it were out of reach.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engine import Engine, ensure_image
from tests.engine.engine import locked
from tests.support import matrix
from tests.support.ledger import ADD, LEDGER, LOOK
from tests.support.matrix import Combination
from tests.support.production import Production
from tests.support.project import SIGN_IN_BY_SESSION, SIGN_IN_BY_TOKEN, Project, add_app, free_port, own_project, until
from tests.support.recipes import blocks
from tests.support.releases import commit_all, git
from tests.support.servers import run_name
from tests.support.swarm import join_swarm, swarm_state
from tests.support.updates import render, update
from tools.lock import compile_locks

pytestmark = pytest.mark.rotates(
    seconds=270,
    touched_by=["docs/production.md", "tests/support/recipes.py", "*restore*", "hooks/backup/*", "hooks/deploy/*.sh"],
)

SLUG = "slipway-relocation"
# A group with a permission, and a user whose number is not what it would be if the rows were numbered anew.
PEOPLE = """
from accounts.models import User
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, Permission
editors = Group.objects.create(name="editors")
editors.permissions.add(Permission.objects.get(codename="view_user"))
User.objects.get(username="gone").delete()
ada = User.objects.get(username="ada")
ada.groups.add(editors)
LogEntry.objects.log_actions(ada.pk, [ada], CHANGE, change_message="")
"""
# Prints the number of rows of each model, after the cache has been emptied.
COUNT = """
import json
from django.apps import apps
from django.core.cache import cache
cache.clear()
print(json.dumps({model._meta.label: model._base_manager.count() for model in apps.get_models()}))
"""
# Prints whether the log of the admin still leads to the user, and creates one of each: the numbers go on.
CREATE = """
from accounts.models import User
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
print(LogEntry.objects.get().get_edited_object())
group = Group.objects.create(name="{0}")
User.objects.create_user("{0}").groups.add(group)
"""


@dataclass
class Site(Production):
    """A site that moves."""

    session: str = ""
    token: str = ""
    swarm: bool = False

    @property
    def web(self) -> str:
        """The container that serves."""
        if not self.swarm:
            return (self.project.path / "data" / "front" / "web").read_text(encoding="utf-8").strip()
        of = f"label=com.docker.swarm.service.name={SLUG}_web"
        return self.project.docker("ps", "--quiet", "--filter", of, "--filter", "health=healthy").split()[0]

    def python(self, code: str) -> str:
        """Run Python with Django loaded in the web container, and return what it prints."""
        return self.project.docker("exec", self.web, "python", "manage.py", "shell", "--no-imports", "-c", code).strip()

    def walk(self, block: str, at: Path | None = None, **names: str) -> None:
        """Run a block of the page's commands, with these names instead of those in capitals."""
        for name, value in names.items():
            block = re.sub(rf"\b{name}\b", value, block)
        self.project.run("sh", "-ec", f"cd {at or self.project.path}\n{block}")

    def fill(self) -> None:
        """Create users, groups, rows and files, a session and a token."""
        self.python(ADD.format(40))
        for name in ("gone", "ada", "eve"):
            key = self.python((SIGN_IN_BY_TOKEN if name == "eve" else SIGN_IN_BY_SESSION) % name)
            self.session, self.token = (self.session, key) if name == "eve" else (key, self.token)
        self.python(PEOPLE)

    def stock(self) -> dict[str, object]:
        """Return what is there: the number of rows of each model, a digest of rows and files, who is signed in."""
        found: dict[str, object] = json.loads(self.python(COUNT))
        found["rows and files"] = json.loads(self.python(LOOK))
        _, _, profile = self.ask("/accounts/profile/", headers={"Cookie": f"sessionid={self.session}"})
        found["by the session"] = re.findall("ada|eve|gone", profile.decode())
        _, _, me = self.ask("/api/v1/users/me/", headers={"Authorization": f"Token {self.token}"})
        found["by the token"] = json.loads(me).get("username")
        status = self.ask("/api/v1/users/", headers={"Cookie": f"sessionid={self.session}"})[0]
        found["by the group's permission"] = status
        return found

    def goes_on(self, name: str) -> None:
        """Assert that new rows get numbers that are free."""
        assert self.python(CREATE.format(name)) == "ada"
        self.python(ADD.format(3))

    def removed(self) -> None:
        """Remove the containers on one host."""
        script = f"cd / && docker compose --project-name {SLUG}-production down --volumes --timeout 1"
        self.project.run("sh", "-c", f"({script}) > /dev/null 2>&1 || true")

    def remove(self) -> None:
        """Remove it, on one host and in a Swarm, and its images."""
        self.removed()
        volumes = f"docker volume ls --quiet --filter label=com.docker.stack.namespace={SLUG}"
        script = f"""
            [ {self.swarm:d} = 0 ] || docker stack rm --detach=false {SLUG}
            docker ps --all --quiet --filter label=com.docker.stack.namespace={SLUG} | xargs -r docker rm --force
            {volumes} | xargs -r docker volume rm
            for kind in secret config; do docker $kind ls -q --filter label=site={SLUG} | xargs -r docker $kind rm; done
            docker image ls --quiet {SLUG} | xargs -r docker image rm --force
        """
        self.project.run("sh", "-c", f"({script}) > /dev/null 2>&1 || true")


@pytest.fixture(scope="module")
def site(template: Path, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A deployed site on SQLite with data, and branches of it for PostgreSQL and for a Swarm."""
    ensure_image(engine, "caddy:2")
    combination = Combination(SLUG, matrix.pick(database="sqlite", use_celery=True).answers)
    path = render(template, tmp_path_factory.mktemp("old") / SLUG, combination.data)
    add_app(Project(path, combination, engine), LEDGER)
    commit_all(path)
    for branch, question, answer in (("postgres", "database", "postgres"), ("swarm", "deploy", "swarm")):
        git("checkout", "--quiet", "-b", branch, at=path)
        update(path, trust=False, **{question: answer})
        compile_locks(path)
        commit_all(path)
    git("checkout", "--quiet", "main", at=path)
    git("clone", "--quiet", "--bare", "--branch", "postgres", "--no-local", str(path), "../repository.git", at=path)
    site = Site(own_project(path, combination, engine), free_port(), free_port())
    site.removed()
    try:
        site.configure(95)
        site.make("secrets")
        site.make("deploy")
        site.fill()
        yield site
    finally:
        site.remove()


def test_to_another_kind_of_database(site: Site) -> None:
    before = site.stock()
    assert before["by the session"] == ["ada"]
    assert (before["by the token"], before["by the group's permission"]) == ("eve", 200)
    assert before["accounts.User"] == 2
    export, load = blocks(site.project, "Another kind of database")
    site.project.docker("stop", f"{SLUG}-production-worker-1", f"{SLUG}-production-beat-1")
    site.walk(export)
    site.walk(load, BRANCH="postgres")
    engine = site.python("from django.db import connection; print(connection.vendor)")
    assert engine == "postgresql"
    assert site.stock() == before
    print(f"from SQLite to PostgreSQL: {before}")
    site.goes_on("postgres")


def test_to_another_host(site: Site, tmp_path_factory: pytest.TempPathFactory) -> None:
    before = site.stock()
    old, new = site.project.path, tmp_path_factory.mktemp("new")
    pack, unpack = blocks(site.project, "Another host")
    site.project.docker("stop", f"{SLUG}-production-beat-1")
    until(lambda: site.make("prod-manage", "CMD=tasks").startswith("0 waiting, the oldest for 0 seconds; 0 with"))
    site.walk(pack)
    assert (old.parent / "moves.tar").stat().st_mode & 0o777 == 0o600
    site.removed()
    (old.parent / "moves.tar").rename(new / "moves.tar")
    site.walk(unpack, at=new, REPOSITORY=str(old.parent / "repository.git"))
    site.project.path = new / SLUG
    assert site.stock() == before
    assert not (new / "moves.tar").exists()
    print(f"to another host: {before}")
    site.goes_on("host")


def test_to_a_swarm(site: Site, pytestconfig: pytest.Config) -> None:
    before = site.stock()
    [block] = blocks(site.project, "A Swarm instead of one host")
    settings = site.project.path / "production.env"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(re.sub(r"(?m)^FRONTEND_SUBNET=.*\n", "", text), encoding="utf-8")
    with locked("swarm"):
        if swarm_state(site.project.engine) != "active":
            join_swarm(site.project.engine, run_name(pytestconfig))
        site.swarm = True
        try:
            site.walk(block, BRANCH="swarm")
            until(lambda: site.status("/") == 200)
            assert site.stock() == before
            print(f"to a Swarm: {before}")
            site.goes_on("swarm")
        finally:
            site.remove()
