"""PostgreSQL's log elsewhere, as docs/production.md sets it up: what a kill costs, and back to a time before a mistake.

restic is a stand-in where its image cannot be pulled: Debian's build of it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pytest_copie.plugin import Copie

from tests.engine import Engine, ensure_image
from tests.support import matrix
from tests.support.matrix import Combination
from tests.support.production import Production
from tests.support.project import PATIENCE, CommandError, free_port, make_project, until
from tests.support.recipes import blocks

pytestmark = pytest.mark.rotates(
    seconds=210,
    touched_by=["docs/production.md", "tests/support/recipes.py", "*restic*", "hooks/production/*"],
)
BOUND = 120  # seconds: what the page promises


@dataclass
class Site(Production):
    """A site whose log leaves the host."""

    commands: Iterator[str] = field(default_factory=lambda: iter(()))

    @property
    def database(self) -> str:
        """The name of the database's container."""
        return f"{self.project.slug}-production-database-1"

    def walk(self) -> None:
        """Run the page's next block of commands."""
        self.project.run("sh", "-ec", next(self.commands))

    def wal(self, *arguments: str, fails: bool = False) -> str:
        """Run the page's script, and return its last line."""
        return self.project.run("sh", "scripts/wal.sh", *arguments, fails=fails).splitlines()[-1:][0]

    def send(self) -> None:
        """Send the log, as cron does every minute."""
        self.project.run("sh", "scripts/wal.sh", "send")

    def query(self, sql: str) -> str:
        """Run SQL as the superuser, and return its rows."""
        psql = ("psql", "--username", "postgres", "--dbname", "app", "--no-psqlrc", "--tuples-only", "--no-align")
        return self.project.docker("exec", self.database, *psql, "--command", sql).strip()

    def count(self) -> int:
        """Return the last number in the table."""
        return int(self.query("SELECT coalesce(max(number), 0) FROM ticks"))

    def archived(self) -> None:
        """Wait until the server has copied what is in its log now."""
        now = self.query("SELECT pg_walfile_name(pg_current_wal_lsn())")
        until(lambda: self.query("SELECT last_archived_wal FROM pg_stat_archiver") >= now)

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """Insert a row five times a second until the end of the context, or of the database."""
        command = [
            "docker",
            "exec",
            "--interactive",
            self.database,
            "psql",
            "--username",
            "postgres",
            "--dbname",
            "app",
        ]
        ticks = subprocess.Popen(
            command, env=self.project.engine.env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        try:
            assert ticks.stdin
            ticks.stdin.write("INSERT INTO ticks DEFAULT VALUES \\watch 0.2\n")
            ticks.stdin.flush()
            yield
        finally:
            # Killed alone, Docker's client would leave psql behind in the container. The database may be gone.
            with suppress(CommandError):
                self.query(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'INSERT INTO ticks%'"
                )
            ticks.wait(PATIENCE)

    def more(self, number: int) -> None:
        """Wait until there are so many more rows."""
        before = self.count()
        until(lambda: self.count() >= before + number)

    @property
    def media(self) -> Path:
        """The folder with the uploads."""
        return self.project.path / "data" / "site" / "media"


@pytest.fixture(scope="module")
def site(copie_session: Copie, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A deployed site whose log is copied and sent, with a table of rows that know when they were made."""
    ensure_image(engine, "caddy:2")
    answers = matrix.pick(database="postgres", use_drf=False, multi_stage=False).answers
    project = make_project(copie_session, engine, Combination("slipway-wal", answers))
    script = (project.path / "scripts" / "restic.sh").read_text(encoding="utf-8")
    ensure_image(engine, re.findall(r"restic/restic:[0-9.]+", script)[0])
    site = Site(project, free_port(), free_port())
    commands = blocks(project, "Point in time, with PostgreSQL")
    configure = next(commands)
    site.configure(96)
    folder = tmp_path_factory.mktemp("elsewhere") / "repository"
    folder.mkdir()
    settings = f"RESTIC_REPOSITORY={folder}\nRESTIC_PASSWORD=a long one\n"
    (project.path / "backup.env").write_text(settings, encoding="utf-8")
    project.commit("Send the log elsewhere")
    try:
        site.make("secrets")
        site.deploy_commit()
        project.run("sh", "-ec", configure)
        project.wait_healthy(site.database)
        site.commands = commands
        site.walk()
        site.query("CREATE TABLE ticks (number serial PRIMARY KEY, at timestamptz DEFAULT clock_timestamp())")
        site.query("ALTER TABLE ticks OWNER TO app; ALTER SEQUENCE ticks_number_seq OWNER TO app")
        yield site
    finally:
        site.remove()


def test_a_kill_costs_less_than_the_page_says(site: Site) -> None:
    (site.media / "early.txt").write_text("early", encoding="utf-8")
    with site.ticking():
        site.more(5)
        safe = site.count()
        site.archived()  # by itself, once its time is over
        site.more(20)
        site.send()
        site.more(20)
        (site.media / "late.txt").write_text("late", encoding="utf-8")
        made = dict(line.split("|") for line in site.query("SELECT number, extract(epoch FROM at) FROM ticks").split())
        # The container is killed, and its data with the uploads is gone.
        site.project.docker("rm", "--force", site.database)
    shutil.rmtree(site.project.path / "data" / "postgres")
    shutil.rmtree(site.media)
    site.walk()
    last, lost = site.count(), len(made) - site.count()
    seconds = float(made[str(max(map(int, made)))]) - float(made[str(last)])
    print(f"{len(made)} rows before the kill, {last} after the restore: {lost} rows of {seconds:.1f} s are lost")
    assert safe <= last < len(made)
    assert seconds < BOUND
    assert int(site.query("SELECT count(*) FROM ticks")) == last, "there are gaps"
    assert [path.name for path in site.media.iterdir()] == ["early.txt"]
    assert site.status("/") == 200
    assert site.readiness() == 200


def test_a_mistake_is_undone_up_to_the_second_before(site: Site) -> None:
    with site.ticking():
        site.more(5)
    before = site.query("SELECT count(*), max(number) FROM ticks")
    time = site.query("SELECT clock_timestamp() AT TIME ZONE 'UTC'") + "Z"
    site.query("DELETE FROM ticks")
    site.query("SELECT pg_switch_wal()")
    site.archived()
    site.send()
    said = site.wal("restore", "1999-12-31 00:00:00Z", fails=True)
    assert said == "Nothing was changed: no copy of the database is older than 1999-12-31 00:00:00Z"
    assert site.query("SELECT count(*) FROM ticks") == "0"
    assert site.wal("restore", time).startswith("The database is restored. What was there before is in data/before-")
    assert site.query("SELECT count(*), max(number) FROM ticks") == before
    with site.ticking():
        site.more(5)
    assert site.status("/") == 200
