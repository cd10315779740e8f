"""Backups of a running site, and restores, with real containers and the README's commands."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pytest_copie.plugin import Copie

from tests.engine import Engine, ensure_image
from tests.support import matrix
from tests.support.backups import add, rewrite
from tests.support.ledger import LEDGER
from tests.support.matrix import Combination
from tests.support.production import Production
from tests.support.project import PATIENCE, add_app, free_port, make_project, until

pytestmark = pytest.mark.rotates(
    seconds=100,
    touched_by=[
        "*backup*",
        "*restore*",
    ],
)

# Four threads write and print each number once it is committed; a fifth deletes older rows.
WRITE = """
import sys, threading, time
from pathlib import Path
from django.core.files.base import ContentFile
from django.db import connection
from ledger.models import Entry

def write(first):
    number = first
    while not Path("/tmp/stop").exists():
        Entry.objects.create(number=number, file=ContentFile(f"{number} is Ærø 日本".encode() * 200, f"{number}.txt"))
        sys.stdout.write(f"{number}\\n")
        sys.stdout.flush()
        number += 4
        time.sleep(0.01)
    connection.close()

def delete():
    for entry in Entry.objects.filter(number__lt=0).order_by("number"):
        if Path("/tmp/stop").exists():
            break
        entry.delete()
        entry.file.delete(save=False)
        time.sleep(0.05)
    connection.close()

for number in range(-400, 0):
    Entry.objects.create(number=number, file=ContentFile(b"soon gone", f"{number}.txt"))
threads = [threading.Thread(target=write, args=[first]) for first in range(4)] + [threading.Thread(target=delete)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
# Prints every row's number, and whether its file has the right content.
READ = """
import json
from ledger.models import Entry

def whole(entry):
    try:
        text = entry.file.open().read()
    except FileNotFoundError:
        return False
    return text in (f"{entry.number} is Ærø 日本".encode() * 200, b"soon gone")

print(json.dumps({entry.number: whole(entry) for entry in Entry.objects.iterator()}))
"""
WIPE = (
    "from ledger.models import Entry; Entry.objects.all().delete(); import shutil; shutil.rmtree('/data/media/ledger')"
)

STACKS = {
    "sqlite": {"database": "sqlite", "use_drf": False, "multi_stage": False},
    "postgres": {"database": "postgres", "use_celery": True},
    "mariadb": {"database": "mariadb", "use_drf": False, "multi_stage": False},
    "mysql": {"database": "mysql", "use_drf": False},
}


class Site(Production):
    """A site with backups."""

    def rows(self) -> dict[int, bool]:
        """Return the numbers of all rows, each with whether its file is complete."""
        return {int(number): whole for number, whole in json.loads(self.python(READ)).items()}

    @contextmanager
    def restoring(self, file: Path) -> Iterator[subprocess.Popen[bytes]]:
        """Start `make restore`, and continue as soon as it has unpacked the backup."""
        restore = subprocess.Popen(
            ["make", "--silent", "restore", f"FILE=backups/{file.name}"],
            cwd=self.project.path,
            env=self.project.engine.env | self.project.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        until((self.project.path / "data" / ".restored" / "SHA256SUMS").exists, every=0.01)
        yield restore
        restore.wait()

    def refused(self, file: str) -> str:
        """Run `make restore`, assert that it rejects `file` with one line and changes nothing, and return that line."""
        data = self.project.path / "data"
        before = self.state(), sorted(path.name for path in data.iterdir())
        [line] = self.lines("restore", f"FILE={file}", fails=True)
        assert (self.state(), sorted(path.name for path in data.iterdir())) == before
        return line

    def state(self) -> str:
        """Return when each container started, and the names of the uploads."""
        running = self.project.docker("inspect", "--format", "{{.State.StartedAt}}", *self.compose("ps", "-q").split())
        media = self.project.path / "data" / "site" / "media"
        return running + "\n".join(sorted(str(path) for path in media.rglob("*")))


@pytest.fixture(scope="module", params=STACKS)
def site(request: pytest.FixtureRequest, copie_session: Copie, engine: Engine) -> Iterator[Site]:
    """A deployed project with an app that stores rows and files."""
    ensure_image(engine, "caddy:2")
    combination = Combination(f"slipway-backup-{request.param}", matrix.pick(**STACKS[request.param]).answers)
    project = make_project(copie_session, engine, combination)
    add_app(project, LEDGER)
    site = Site(project, free_port(), free_port())
    site.configure(68 + list(STACKS).index(request.param))
    project.commit("Keep a ledger")
    try:
        assert site.lines("backup", fails=True) == ["Nothing is deployed here yet: run make deploy first"]
        site.make("secrets")
        site.deploy_commit()
        yield site
    finally:
        site.remove()


def archive(name: str, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return a tar of uploads with one member, such as a link or a path outside media/."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        member = tarfile.TarInfo(name)
        member.type = kind
        member.linkname = "/etc/passwd" if kind != tarfile.REGTYPE else ""
        tar.addfile(member)
    return buffer.getvalue()


def test_a_backup_that_was_made_under_load_brings_everything_back(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["docker", "compose", "--env-file", "production.env", "--file", "compose.production.yaml", "exec", "-T"]
    said = site.project.path.parent / f"{site.project.slug}.log"
    with said.open("w", encoding="utf-8") as log:
        writers = subprocess.Popen(
            [*command, "web", "python", "manage.py", "shell", "--no-imports", "-c", WRITE],
            cwd=site.project.path,
            env=site.project.engine.env | site.project.environment,
            stdout=log,
        )
        until(lambda: said.stat().st_size > 800)  # all have been writing for a while
        before = {int(number) for number in said.read_text(encoding="utf-8").split()}
        start = time.monotonic()
        [name] = site.lines("backup")
        took = time.monotonic() - start
        site.compose("exec", "-T", "web", "touch", "/tmp/stop")
        assert writers.wait(PATIENCE) == 0
    after = {int(number) for number in said.read_text(encoding="utf-8").split()}
    assert len(after) > len(before) > 20, "nothing was written during the backup"

    file = site.project.path / name
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert file.name.startswith(f"{site.project.slug}-20")
    site.python(WIPE)
    assert site.rows() == {}
    (site.project.path / "data" / "site" / "media" / "later.txt").write_text("not in the backup", encoding="utf-8")
    start = time.monotonic()
    said_last = site.lines("restore", f"FILE={name}")[-1]
    with capsys.disabled():
        print(f"\n{site.project.slug}: {len(before)} to {len(after)} rows, backup {took:.1f} s, ", end="")
        print(f"restore {time.monotonic() - start:.1f} s, {file.stat().st_size >> 10} KiB")
    assert f"{name} is restored" in said_last
    rows = site.rows()
    assert before <= set(rows)
    assert {number for number, whole in rows.items() if not whole} == set(), "rows without their files"
    assert {number for number in rows if number >= 0} <= after
    assert not (site.project.path / "data" / "site" / "media" / "later.txt").exists()
    assert not (site.project.path / "data" / ".restored").exists()


def test_what_is_no_good_is_refused_and_nothing_is_touched(site: Site) -> None:
    [good] = (site.project.path / "backups").iterdir()
    bad = good.parent / "bad.tar"
    content = good.read_bytes()

    def refused() -> str:
        return site.refused("backups/bad.tar")

    rows = site.rows()
    assert site.refused("").startswith("Which backup? Run make restore FILE=backups/...")
    assert site.refused("backups/none.tar") == "There is no file backups/none.tar"
    damaged = "backups/bad.tar is damaged, or was not written by make backup: choose another file"
    middle = content.index(b"Creative") if b"Creative" in content else len(content) // 2
    for broken in (
        b"",
        b"nonsense" * 1280,
        content[:-1],
        content[: len(content) // 2],
        content[: len(content) // 20480 * 10240],
        content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
    ):
        bad.write_bytes(broken)
        assert refused() == damaged
    for member in (
        archive("/etc/evil"),
        archive("media/../../evil"),
        archive("other/evil"),
        archive("media/evil", tarfile.SYMTYPE),
        archive("media/evil", tarfile.LNKTYPE),
    ):
        rewrite(good, bad, lambda members, member=member: members.update({"media.tar": member}))  # type: ignore[misc]
        assert refused() == damaged
    for name in ("/manifest", "../manifest"):
        with tarfile.open(bad, "w") as tar:
            add(tar, name, b"")
        assert refused() == damaged

    def manifest(old: str, new: str) -> None:
        rewrite(good, bad, lambda m: m.update(manifest=m["manifest"].replace(old.encode(), new.encode())))

    manifest(f"project={site.project.slug}", "project=other")
    assert refused() == f"backups/bad.tar is not a backup of {site.project.slug}, but of: other"
    manifest(f"database={site.project.database}", "database=oracle")
    assert refused() == f"backups/bad.tar is not a backup of {site.project.database}, but of: oracle"
    manifest("format=1", "format=2")
    assert refused().startswith("backups/bad.tar has format 2, and this version of the site reads format 1: ")
    assert site.rows() == rows


def test_a_restore_that_fails_leaves_what_was_there(site: Site) -> None:
    [good] = [file for file in (site.project.path / "backups").iterdir() if file.name != "bad.tar"]
    bad = good.parent / "bad.tar"
    rows = site.rows()
    running = site.state()
    # The checksums match, but the dump is broken: it is loaded next to the site's database, which is not affected.
    rewrite(good, bad, lambda members: members.update(database=members["database"][:600] + b"\0" * 600))
    site.lines("restore", "FILE=backups/bad.tar", fails=True)
    assert site.state() == running
    assert site.rows() == rows
    # The dump is loaded and swapped in, and then the migrations fail: the old data comes back.
    migrates, fails = "command: python manage.py migrate\n", "command: python -c 'exit(1)'\n"
    site.python(WIPE)
    site.project.edit("compose.production.yaml", migrates, fails)
    try:
        said = site.lines("restore", f"FILE=backups/{good.name}", fails=True)
        assert said[-1] == "The restore failed: putting the old data back"
    finally:
        site.project.edit("compose.production.yaml", fails, migrates)
    site.compose("up", "--detach", "--wait")
    assert site.rows() == {}
    assert not (site.project.path / "data" / ".restored").exists()


def test_they_keep_out_of_each_others_way(site: Site) -> None:
    good = next(file for file in (site.project.path / "backups").iterdir() if file.name != "bad.tar")
    with site.restoring(good) as restore:
        for command in (["deploy"], ["rollback", "TAG=any"], ["restore", "FILE=any"]):
            assert site.lines(*command, fails=True) == ["make restore is running: wait for it"]
        assert restore.poll() is None
        [name] = site.lines("backup")  # waits instead of failing, because a nightly backup is not repeated
        assert restore.wait() == 0
    (site.project.path / name).unlink()
    assert site.rows()


def test_a_restore_that_was_killed_can_be_done_again(site: Site) -> None:
    good = next(file for file in (site.project.path / "backups").iterdir() if file.name != "bad.tar")
    data = site.project.path / "data"
    rows, running = site.rows(), site.state()
    with site.restoring(good) as restore:
        os.killpg(restore.pid, signal.SIGKILL)
    assert (data / ".restored").exists()
    assert site.state() == running
    site.make("deploy")
    assert site.rows() == rows
    # Killed in the middle of the swap.
    site.compose("stop", "caddy", "web")
    taken = data / ".restored" / "was" / "site"
    taken.mkdir(parents=True)
    (data / "site" / "media").rename(taken / "media")
    advice = "A restore was killed while it replaced the data: run make restore again with the same file"
    assert site.lines("deploy", fails=True) == site.lines("backup", fails=True) == [advice]
    said = site.lines("restore", f"FILE=backups/{good.name}")
    [kept] = data.glob("was-*")
    assert said[0].endswith(f"The data that it had moved away is in data/{kept.name}")
    assert any(kept.glob("site/media/ledger/*/*/*.txt"))
    assert site.rows() == rows
    assert not (data / ".restored").exists()
