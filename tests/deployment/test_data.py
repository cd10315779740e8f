"""The data on a host is protected from other projects, other databases and other users."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import matrix
from tests.support.data import COMMANDS, FILES, mode
from tests.support.matrix import Combination
from tests.support.updates import render

# Stands in for Docker: it logs its arguments and does nothing else.
DOCKER = '#!/bin/sh\necho "$@" >> {log}\n'


@dataclass
class Host:
    """A project on a host whose Docker only logs its arguments."""

    path: Path
    database: str
    #: the body of the Docker stand-in, which knows its version and reads production.env
    docker: str = (
        'case "$*" in ps*) cat {running} ;; version* | "compose version"*) echo 99 ;; *profiles) cat production.env ;; '
        r""" "network inspect"*) sed -n 's/.*FRONTEND_SUBNET:-\([0-9./]*\).*/\1/p' compose.production.yaml ;; esac"""
    )

    @property
    def slug(self) -> str:
        """The project's name."""
        return f"slipway-data-{self.database}"

    @property
    def memory(self) -> Path:
        """The file that records whose data it is."""
        return self.path / "data" / "belongs-to"

    def make(self, *arguments: str) -> tuple[bool, list[str], list[str]]:
        """Run `make`; return whether it succeeded, the lines that it printed, and its calls of Docker."""
        bin_, log = self.path.parent / f"{self.database}-bin", self.path.parent / f"{self.database}-log"
        running = self.path.parent / f"{self.database}-running"
        bin_.mkdir(exist_ok=True)
        running.touch()
        (bin_ / "docker").write_text((DOCKER + self.docker).format(log=log, running=running), encoding="utf-8")
        (bin_ / "docker").chmod(0o755)
        log.write_text("", encoding="utf-8")
        result = subprocess.run(
            ["make", "--silent", *arguments],
            cwd=self.path,
            env={"PATH": f"{bin_}:{os.environ['PATH']}", "HOME": str(self.path.parent)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        lines = [line for line in result.stdout.splitlines() if not line.startswith("make: ***")]
        return result.returncode == 0, lines, log.read_text(encoding="utf-8").splitlines()

    def state(self) -> dict[str, tuple[int, str]]:
        """Return the mode and the content of every file that git ignores."""
        return {
            str(path): (path.stat().st_mode, path.read_text(encoding="utf-8") if path.is_file() else "")
            for folder in ("data", "backups", "secrets")
            for path in [self.path / folder, *sorted((self.path / folder).rglob("*"))]
        }

    def refuses(self, why: str) -> None:
        """Assert that every command fails with one line that starts with `why`, and changes nothing."""
        before = self.state()
        for command in COMMANDS:
            done, lines, asked = self.make(*command)
            assert not done, command
            assert len(lines) == 1, lines
            assert lines[0].startswith(why), lines
            rest = [words for words in asked if not words.endswith(("config --profiles", "version --short"))]
            assert {words.split()[0] for words in rest} == {"version", "ps"}, asked
            assert self.state() == before

    def deploys(self) -> None:
        """Assert that `make deploy` does not refuse the data, and migrates."""
        _, lines, asked = self.make("deploy")
        assert any(" migrate" in words for words in asked), [*lines, *asked]


@pytest.fixture(scope="module", params=FILES)
def rendered(request: pytest.FixtureRequest, template: Path, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A freshly rendered project."""
    made = Host(tmp_path_factory.mktemp(request.param) / "project", request.param)
    render(template, made.path, Combination(made.slug, matrix.pick(database=request.param).answers).data)
    return made


@pytest.fixture
def host(rendered: Host, tmp_path: Path) -> Host:
    """A project with its secrets, and with a data/ as the last release leaves it."""
    made = Host(shutil.copytree(rendered.path, tmp_path / "project"), rendered.database)
    made.make("secrets")
    (made.path / "production.env").write_text("SITE_HOST=localhost\n", encoding="utf-8")
    (made.path / "backups").mkdir()
    (made.path / "data" / "site" / "media").mkdir(parents=True)
    (made.path / "data" / "releases").write_text("2026-01-01T00:00:00Z abc\n", encoding="utf-8")
    put(made, made.database)
    return made


def put(host: Host, database: str) -> None:
    """Create the file in data/ by which a kind of database is recognised."""
    file = host.path / "data" / FILES[database][0]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()


def test_another_project_is_refused(host: Host) -> None:
    host.deploys()
    assert host.memory.read_text(encoding="utf-8") == f"{host.slug} {FILES[host.database][1]}\n"
    host.memory.write_text(f"other {FILES[host.database][1]}\n", encoding="utf-8")
    host.refuses(f"data/ belongs to other, but project_slug is now {host.slug}: set it back to other")
    # The last release recorded nothing, but its containers still exist.
    host.memory.unlink()
    (host.path.parent / f"{host.database}-running").write_text("other-production\n", encoding="utf-8")
    host.refuses(f"data/ belongs to other, but project_slug is now {host.slug}: set it back to other")


def test_another_database_is_refused(host: Host) -> None:
    kind = FILES[host.database][1]
    for other in set(FILES) - {host.database}:
        host.memory.write_text(f"{host.slug} {FILES[other][1]}\n", encoding="utf-8")
        host.refuses(f"data/ was written by {FILES[other][1]}, and {kind} cannot read it")
        host.memory.unlink()
    # The last release recorded nothing, but the files show which database it was.
    (host.path / "data" / FILES[host.database][0]).unlink()
    put(host, "mariadb" if host.database == "postgres" else "postgres")
    host.refuses(f"data/ was written by another database, and {kind} cannot read it")
    assert not (host.path / "data" / host.database).exists()
    put(host, host.database)
    host.deploys()


def test_another_major_version_is_refused(host: Host) -> None:
    if host.database == "sqlite":
        return
    host.deploys()
    kind, series = FILES[host.database][1].split()
    file = host.path / "compose.production.yaml"
    text = file.read_text(encoding="utf-8")

    def change(image: str) -> None:
        file.write_text(text.replace(f"image: {kind}:{series}", f"image: {image}"), encoding="utf-8")
        subprocess.run(["git", "commit", "--quiet", "--all", "--message", "Change it"], cwd=host.path, check=True)

    for same in (f"{kind}:{series}.1-trixie", f'"mirror.example.com:5000/{kind}:{series}@sha256:0a1"'):
        change(same)
        host.deploys()
    change(f"{kind}:99.1")
    newer = f"{kind} 99{'' if kind == 'postgres' else '.1'}"
    host.refuses(f"data/ was written by {kind} {series}, and {newer} cannot read it")


def test_each_kind_has_a_folder_and_what_is_there_stays(host: Host) -> None:
    data = host.path / "data"
    services = (host.path / "compose.production.yaml").read_text(encoding="utf-8")
    assert "data/database" not in services
    host.deploys()
    host.deploys()
    if host.database != "sqlite":
        assert f"- ./data/{host.database}:/var/lib/" in services
        assert (data / host.database).readlink() == Path("database")
    assert (data / FILES[host.database][0]).exists()


def test_other_users_cannot_read_it(host: Host) -> None:
    for path in (host.path / "data", host.path / "data" / "site", host.path / "backups", host.path / "secrets"):
        path.chmod(0o755)
    host.deploys()
    host.make("backup")  # fails, because there is no database
    closed = [path for path in (host.path / "data").iterdir() if path.is_dir()]
    closed += [host.path / name for name in ("data", "backups", "secrets", "production.env")]
    closed += [host.memory, *(host.path / "secrets").iterdir()]
    if host.database == "sqlite":
        closed.append(host.path / "data" / "site" / "db.sqlite3")
    assert {str(path): oct(mode(path)) for path in closed if mode(path) & 0o077} == {}


def test_a_url_of_another_kind_is_noticed(host: Host) -> None:
    if host.database == "sqlite":
        return
    url = host.path / "secrets" / "database_url"
    made = url.read_text(encoding="utf-8")
    done, _, _ = host.make("secrets")
    assert done
    scheme = "mysql" if host.database == "postgres" else "postgres"
    url.write_text(f"{scheme}://app:0123456789@database/app\n", encoding="utf-8")
    done, lines, _ = host.make("secrets")
    assert not done
    assert lines[-1].startswith("secrets/database_url is for another kind of database than ")
    url.write_text(made, encoding="utf-8")


@pytest.fixture
def swarm(template: Path, tmp_path: Path) -> Host:
    """A project for a Swarm, which runs what the files image, volumes and secrets name."""
    made = Host(tmp_path / "swarm" / "project", "postgres")
    render(
        template, made.path, {**matrix.pick(database="postgres").answers, "project_slug": made.slug, "deploy": "swarm"}
    )
    made.make("secrets")
    (made.path / "production.env").write_text("SITE_HOST=localhost\n", encoding="utf-8")
    for name in ("image", "volumes", "secrets"):
        (made.path.parent / name).touch()
    folder = made.path.parent
    made.docker = (
        'case "$1 $*" in *_migrate) echo Failed ;; "node node ls"*) echo "Ready Active Leader" ;; '
        f'*_database) cat {folder}/image ;; "volume volume ls"*) cat {folder}/volumes ;; '
        f'*" ls "*) echo one ;; "service service inspect one") cat {folder}/secrets ;; info*) echo true ;; esac'
    )
    return made


def reaches_the_stack(swarm: Host, why: str = "") -> bool:
    """Return whether `make deploy` deploys the stack; AssertionError if it refuses without saying `why`."""
    done, lines, asked = swarm.make("deploy")
    assert not done, "the stand-in reports that the migrations failed"
    deployed = any(words.startswith("stack deploy") for words in asked)
    if not deployed:
        assert lines[-1].startswith(why), lines
        assert not any(words.split()[1] in {"create", "build", "update"} for words in asked), asked
    return deployed


def test_a_swarm_refuses_another_database(swarm: Host) -> None:
    image, volumes = (swarm.path.parent / name for name in ("image", "volumes"))
    why = f"The volume {swarm.slug}_%s was written by %s, and postgres 18 cannot read it"
    for running, refused in (
        ("postgres:17@sha256:0a1", ("postgres", "postgres 17")),
        ("mariadb:11.8", ("mariadb", "mariadb 11")),
        ("mirror.example.com:5000/postgres:18.1", None),
        ("postgis/postgis:18-3.6", None),
    ):
        image.write_text(f"{running}\n", encoding="utf-8")
        assert reaches_the_stack(swarm, why % refused if refused else "nothing") == (not refused)
    # The stack was removed, and its volumes are there.
    image.write_text("", encoding="utf-8")
    for left, refused in (
        ("postgres 17", ("postgres", "postgres 17")),
        ("mariadb 11.8", ("mariadb", "mariadb 11.8")),
        ("postgres 18", None),
    ):
        volumes.write_text(f"{left}\n", encoding="utf-8")
        assert reaches_the_stack(swarm, why % refused if refused else "nothing") == (not refused)
    # A database that is elsewhere has no files here.
    volumes.write_text("mariadb 11.8\n", encoding="utf-8")
    (swarm.path / "secrets" / "database_url").write_text("postgres://app:0123456789@db.example.com/app\n")
    assert reaches_the_stack(swarm)
    assert mode(swarm.path / "production.env") == 0o600


def test_a_swarm_refuses_another_name(swarm: Host) -> None:
    running = swarm.path.parent / "secrets"
    why = f"This site is deployed as other, but project_slug is now {swarm.slug}: set it back to other"
    made = {
        name: hashlib.sha256((swarm.path / "secrets" / name).read_bytes()).hexdigest()[:12]
        for name in ("secret_key", "database_url")
    }
    for owner, kept, refused in (
        ("other", "secret_key", True),
        ("other", "database_url", True),  # and a new secret_key
        (swarm.slug, "secret_key", False),
    ):
        names = ("other_secret_key_0123456789ab", f"{owner}_{kept}_{made[kept]}")
        running.write_text("".join(f'  "SecretName": "{name}",\n' for name in names), encoding="utf-8")
        assert reaches_the_stack(swarm, why) != refused


def test_a_url_of_another_kind_is_noticed_for_a_cluster(template: Path, tmp_path: Path) -> None:
    host = Host(tmp_path / "project", "postgres")
    render(template, host.path, {**matrix.pick(database="postgres").answers, "deploy": "kubernetes"})
    redis = "REDIS_URL=redis://:0123456789@redis:6379"
    done, lines, _ = host.make("secrets", "DATABASE_URL=mysql://app:0123456789@database/app", redis)
    assert not done
    assert lines[-1].startswith("secrets/database_url, or DATABASE_URL, is for another kind of database than Postgre")
    assert not (host.path / "deploy/kubernetes/overlays/production/secrets/database_url").exists()
    done, lines, _ = host.make("secrets", "DATABASE_URL=postgis://app:0123456789@database/app", redis)
    assert done, lines
