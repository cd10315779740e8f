"""Deploys on one host: none fails a request, a broken version never serves, and an interruption does no harm."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
from pytest_copie.plugin import Copie

from tests.engine import Engine, ensure_image
from tests.support import matrix
from tests.support.matrix import Combination
from tests.support.production import Load, Site, add_ledger
from tests.support.project import clean_up, free_port, make_project, until

pytestmark = pytest.mark.rotates(
    seconds=350,
    touched_by=[
        *("*compose.production*", "*Caddyfile*", "hooks/deploy/*.sh"),
        *("*/production.sh*", "tests/support/production.py"),
    ],
)

DEPLOYS = 10
INTERRUPTIONS = 10  # on each stack, at other moments
ELSEWHERE = "it listens where no one asks"
# What is wrong -> a line of its Dockerfile, and what the last line says.
BROKEN = {
    "it crashes on import": ('RUN echo "raise RuntimeError" >> config/wsgi.py', "RuntimeError"),
    "its home page fails": ('RUN echo "{% nonsense %}" >> templates/home.html', "TemplateSyntaxError: .*Invalid block"),
    ELSEWHERE: ("ENV GRANIAN_PORT=8001", ""),
    "its migration fails": (
        "RUN printf 'from django.db import migrations\\nclass Migration(migrations.Migration):\\n"
        '    dependencies = [("ledger", "0001_initial")]\\n    operations = [migrations.RunSQL("nonsense")]\\n\''
        " > ledger/migrations/0002_broken.py",
        "Error: .*nonsense",
    ),
}
# The next version adds a column with a default in the database: the version before writes rows without it.
EXPANDS = """COPY <<"END" ledger/migrations/0002_note.py
from django.db import migrations, models

class Migration(migrations.Migration):
    dependencies = [("ledger", "0001_initial")]
    operations = [migrations.AddField("entry", "note", models.CharField(db_default="none", max_length=20))]
END
RUN echo '    note = models.CharField(db_default="none", max_length=20)' >> ledger/models.py"""
STACKS: dict[str, dict[str, str | bool]] = {
    "sqlite": {"database": "sqlite", "use_drf": False, "multi_stage": False},
    "postgres": {"database": "postgres", "use_celery": True},
    "mariadb": {"database": "mariadb", "multi_stage": False},
}


@pytest.fixture(scope="module", params=STACKS)
def site(request: pytest.FixtureRequest, copie_session: Copie, engine: Engine) -> Iterator[Site]:
    """A deployed site that stores rows, in versions called good, v0 and v1, whose migration v0 lacks."""
    ensure_image(engine, "caddy:2")
    combination = Combination(f"slipway-deploys-{request.param}", matrix.pick(**STACKS[request.param]).answers)
    project = make_project(copie_session, engine, combination)
    add_ledger(project)
    site = Site(project, free_port(), free_port())
    site.configure(84 + list(STACKS).index(request.param))
    try:
        site.make("secrets")
        site.deploy_commit()
        project.docker("tag", f"{project.slug}:{project.environment['TAG']}", f"{project.slug}:good")
        site.variant("v0", "ENV VERSION=v0")
        site.variant("v1", EXPANDS)
        yield site
    finally:
        site.remove()
        clean_up(project)


def test_no_request_fails_and_no_write_is_lost_in_ten_deploys(site: Site) -> None:
    """The version before serves on the tables of the next one: while it is deployed, and after a step back."""
    with Load(site, 1_000_000) as load:
        for number in range(DEPLOYS):
            site.deploy(f"v{number % 2}")
            assert site.serving() == site.latest() == f"v{number % 2}"
    seconds = max(seconds for _, seconds in load.answers)
    print(f"{site.project.database}: {len(load.answers)} requests, the longest took {seconds:.2f} s")
    assert {status for status, _ in load.answers} == {201}
    assert load.acknowledged <= site.numbers()
    assert "note" in site.python("from ledger.models import Entry; print([field.name for field in Entry._meta.fields])")


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_version_never_serves(site: Site, how: str) -> None:
    if site.project.database != "postgres" and (site.project.database == "mariadb" or how == ELSEWHERE):
        return  # as with PostgreSQL
    before = site.serving()
    site.variant("broken", BROKEN[how][0])
    with Load(site, 2_000_000 + 1_000_000 * list(BROKEN).index(how), pace=20) as load:
        until(lambda: load.acknowledged)
        start = time.monotonic()
        said = site.deploy("broken", fails=True)
        print(f"{site.project.database}: {how}: refused after {time.monotonic() - start:.0f} s")
    last = [line for line in said.splitlines() if not line.startswith("make: ***")][-1]
    assert re.search(f"and {before} stays up: .*{BROKEN[how][1]}", last), said
    assert {status for status, _ in load.answers} == {201}
    assert site.serving() == site.latest() == before


def test_a_caddyfile_is_validated_and_loaded(site: Site) -> None:
    if site.project.database == "mariadb":
        return  # as with PostgreSQL
    before = site.serving()
    caddyfile = site.project.path / "Caddyfile"
    good = caddyfile.read_text(encoding="utf-8")
    started = site.project.inspect(site.compose("ps", "--quiet", "caddy").strip())["State"]["StartedAt"]
    caddyfile.write_text(good + "\nnonsense {\n", encoding="utf-8")
    assert "Caddy refuses the Caddyfile" in site.deploy("v0", fails=True)
    with site.production_env("MAX_BODY_MB=abc"):
        assert 'MAX_BODY_MB is "abc": set it to a number' in site.deploy("v0", fails=True)
    assert site.serving() == before
    assert site.status("/") == 200
    caddyfile.write_text(good.replace("encode zstd gzip", "encode zstd gzip\n\theader X-Edited yes"), encoding="utf-8")
    site.deploy("v1")
    assert site.ask("/")[1]["x-edited"] == ["yes"]
    assert site.project.inspect(site.compose("ps", "--quiet", "caddy").strip())["State"]["StartedAt"] == started
    assert f"There is no image {site.project.slug}:nonsense" in site.make("rollback", "TAG=nonsense", fails=True)


def test_an_interrupted_deploy_leaves_one_version(site: Site) -> None:
    if site.project.database == "mariadb":
        return  # as with PostgreSQL
    start = time.monotonic()
    site.deploy("v0")
    whole = time.monotonic() - start
    for number in range(INTERRUPTIONS):
        stop = (signal.SIGINT, signal.SIGKILL)[number % 2]
        with site.tagged(f"v{(number + 1) % 2}"):
            deploy = subprocess.Popen(
                ["make", "--silent", "deploy"],
                cwd=site.project.path,
                env=site.project.engine.env | site.project.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        moment = whole * (number + (0.25 if site.project.database == "sqlite" else 0.75)) / INTERRUPTIONS
        time.sleep(moment)  # the moment is what this test is about
        os.killpg(deploy.pid, stop)
        deploy.wait()
        assert site.status("/", timeout=70) == 200
        site.project.run("flock", "data/.lock", "true")  # until the children have ended
        if number % 2:  # after others, the next deploy clears up
            site.make("backup")
            assert site.serving() == site.latest()
            assert len(site.compose("ps", "--all", "--quiet", "web").split()) == 1
        print(f"{site.project.database}: {stop.name} after {moment:.1f} s leaves {site.serving()}")
    site.deploy("good")
    assert site.serving() == site.latest() == "good"


def test_production_has_commands_of_its_own(site: Site) -> None:
    if site.project.database == "mariadb":
        return  # as with PostgreSQL
    assert "web" in site.make("prod-status")
    assert "no issues" in site.make("prod-manage", "CMD=check")
    site.make("prod-stop")
    assert "The site does not run" in site.make("prod-manage", "CMD=check", fails=True)
    assert site.deploy("good").splitlines()[-1].startswith("good is up at ")
