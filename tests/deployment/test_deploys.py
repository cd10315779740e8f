"""Deploys on one host: none fails a request, a broken version never serves, and an interruption does no harm."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pytest_copie.plugin import Copie

from tests.engine import Engine, ensure_image
from tests.support import matrix
from tests.support.matrix import Combination
from tests.support.production import Load, Production, add_ledger
from tests.support.project import clean_up, free_port, make_project, until

pytestmark = pytest.mark.rotates(
    seconds=400,
    touched_by=[
        *("*compose.production*", "*Caddyfile*", "hooks/deploy/*.sh"),
        *("*/production.sh*", "tests/support/production.py"),
    ],
)

DEPLOYS = 10
BROKEN = {
    "it crashes on import": 'echo "raise RuntimeError" >> config/wsgi.py',
    "its home page fails": 'echo "{% nonsense %}" >> templates/home.html',
    "it listens where no one asks": "true; ENV=GRANIAN_PORT=8001",
    "its migration fails": (
        "printf 'from django.db import migrations\\nclass Migration(migrations.Migration):\\n"
        '    dependencies = [("ledger", "0001_initial")]\\n    operations = [migrations.RunSQL("nonsense")]\\n\''
        " > ledger/migrations/0002_broken.py"
    ),
}
STACKS: dict[str, dict[str, str | bool]] = {
    "sqlite": {"database": "sqlite", "use_drf": False, "multi_stage": False},
    "postgres": {"database": "postgres", "use_celery": True},
}


class Site(Production):
    """A site whose versions are variants of one image."""

    def variant(self, tag: str, *lines: str) -> None:
        """Build a version from the deployed one, with these further lines in its Dockerfile."""
        text = "\n".join([f"FROM {self.project.slug}:good", "USER root", *lines, "USER 10001:10001", ""])
        folder = self.project.path / "data" / "variant"
        folder.mkdir(exist_ok=True)
        (folder / "Dockerfile").write_text(text, encoding="utf-8")
        self.project.docker("build", "--quiet", "--tag", f"{self.project.slug}:{tag}", str(folder))

    def deploy(self, tag: str, fails: bool = False) -> str:
        """Deploy a version, and return what was printed."""
        with self.tagged(tag):
            return self.make("deploy", fails=fails)

    @contextmanager
    def tagged(self, tag: str) -> Iterator[None]:
        """Make `make deploy` deploy a version."""
        before = self.project.environment.get("TAG", "good")
        self.project.environment["TAG"] = tag
        try:
            yield
        finally:
            self.project.environment["TAG"] = before

    def serving(self) -> str:
        """Return the version of the container that Caddy sends requests to."""
        name = (self.project.path / "data" / "front" / "web").read_text(encoding="utf-8").strip()
        state = self.project.inspect(name)
        assert state["State"]["Running"]
        return str(state["Config"]["Image"]).rpartition(":")[2]

    def latest(self) -> str:
        """Return the version that data/releases ends with."""
        return (self.project.path / "data" / "releases").read_text(encoding="utf-8").split()[-1]


@pytest.fixture(scope="module", params=STACKS)
def site(request: pytest.FixtureRequest, copie_session: Copie, engine: Engine) -> Iterator[Site]:
    """A deployed site that stores rows, in versions called good, v0 and v1."""
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
        for tag in ("v0", "v1"):
            site.variant(tag, f"ENV VERSION={tag}")
        yield site
    finally:
        site.remove()
        clean_up(project)


def test_no_request_fails_and_no_write_is_lost_in_ten_deploys(site: Site) -> None:
    with Load(site, 1_000_000) as load:
        for number in range(DEPLOYS):
            site.deploy(f"v{number % 2}")
            assert site.serving() == site.latest() == f"v{number % 2}"
    seconds = max(seconds for _, seconds in load.answers)
    print(f"{site.project.database}: {len(load.answers)} requests, the longest took {seconds:.2f} s")
    assert {status for status, _ in load.answers} == {201}
    assert load.acknowledged <= site.numbers()
    assert seconds < (20 if site.project.database == "sqlite" else 10)


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_version_never_serves(site: Site, how: str) -> None:
    before = site.serving()
    command, _, variable = BROKEN[how].partition("; ENV=")
    site.variant("broken", f"RUN {command}", *([f"ENV {variable}"] if variable else []))
    with Load(site, 2_000_000 + 1_000_000 * list(BROKEN).index(how)) as load:
        until(lambda: load.acknowledged, 30)
        start = time.monotonic()
        said = site.deploy("broken", fails=True)
        seconds = time.monotonic() - start  # at most 20 on a machine without other work
    print(f"{site.project.database}, {how}: refused after {seconds:.1f} s")
    assert f"and {before} stays up" in said
    assert {status for status, _ in load.answers} == {201}
    assert site.serving() == site.latest() == before


def test_a_caddyfile_is_validated_and_loaded(site: Site) -> None:
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
    moments = 10
    start = time.monotonic()
    site.deploy("v0")
    whole = time.monotonic() - start
    for number in range(2 * moments):
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
        moment = whole * (number // 2 + 0.5) / moments
        time.sleep(moment)  # the moment is what this test is about
        os.killpg(deploy.pid, stop)
        deploy.wait()
        assert site.status("/", timeout=70) == 200
        site.project.run("flock", "data/.lock", "true")  # until the children have ended
        site.make("backup")
        print(f"{site.project.database}: {stop.name} after {moment:.1f} s leaves {site.latest()}")
        assert site.serving() == site.latest()
        assert len(site.compose("ps", "--all", "--quiet", "web").split()) == 1
    site.deploy("good")
    assert site.serving() == site.latest() == "good"


def test_production_has_commands_of_its_own(site: Site) -> None:
    assert "web" in site.make("prod-status")
    assert "no issues" in site.make("prod-manage", "CMD=check")
    site.make("prod-stop")
    assert "The site does not run" in site.make("prod-manage", "CMD=check", fails=True)
    assert site.deploy("good").splitlines()[-1].startswith("good is up at ")
