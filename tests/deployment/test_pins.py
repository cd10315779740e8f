"""Images by digest: `make pin` writes and renews the digests, and the pinned images are those that run."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_copie.plugin import Copie

from tests.engine import Engine, ensure_image
from tests.support import matrix
from tests.support.matrix import ROOT, Combination
from tests.support.production import Site
from tests.support.project import Project, clean_up, free_port, make_project
from tests.support.registry import Registry
from tests.support.workflows import workflow

pytestmark = pytest.mark.rotates(
    seconds=55,
    touched_by=["template/scripts/images.sh", "hooks/deploy/images.sh", "template/.github/workflows/upgrade.yml"],
)
FILES = ["Dockerfile", "compose.yaml", "compose.production.yaml", "scripts/audit.sh"]
# In place of `make`: it prints its target.
MAKE = "#!/bin/sh\necho make $1\n"


@pytest.fixture(scope="module")
def made(copie_session: Copie, engine: Engine) -> Iterator[Project]:
    """A project with PostgreSQL."""
    answers = matrix.pick(database="postgres", use_celery=False).answers
    project = make_project(copie_session, engine, Combination("slipway-pins", answers))
    yield project
    clean_up(project)


@pytest.fixture(scope="module")
def registry(made: Project) -> Iterator[Registry]:
    """A registry that the project takes all of its images from, its scanner too."""
    [mailpit] = re.findall(r"image: (axllent/\S+)", (made.path / "compose.yaml").read_text(encoding="utf-8"))
    registry = Registry(made, [*matrix.images(made.combination), "caddy:2", mailpit])
    for name in registry.names:
        ensure_image(made.engine, name)
    try:
        registry.start()
        scanner = (made.path / "scripts" / "audit.sh").read_text(encoding="utf-8").partition(":=")[2].partition("@")[0]
        for file in FILES:
            text = (made.path / file).read_text(encoding="utf-8").replace(scanner, registry.at("caddy:2"))
            for name in registry.names:
                text = text.replace(f"image: {name}\n", f"image: {registry.at(name)}\n")
                text = text.replace(f"IMAGE={name}\n", f"IMAGE={registry.at(name)}\n")
            (made.path / file).write_text(text, encoding="utf-8")
        made.commit("Take the images from our registry")
        yield registry
    finally:
        registry.remove()


@pytest.fixture(scope="module")
def site(made: Project, registry: Registry) -> Iterator[Site]:
    """The site, which is not deployed yet."""
    site = Site(made, free_port(), free_port())
    site.configure(93)
    try:
        yield site
    finally:
        site.remove()


def pinned(site: Site, registry: Registry) -> set[str]:
    """Return the images that the project's files name by their digest in the registry; AssertionError for others."""
    names = {f"{registry.at(name)}@{registry.digest(name)}" for name in registry.names}
    found = set()
    for file in FILES:
        text = (site.project.path / file).read_text(encoding="utf-8")
        found |= {name for name in names if name in text}
        for name in names:
            text = text.replace(name, "")
        assert registry.at("") not in text, f"{file} has an image without its digest of today"
    return found


def in_production(names: set[str]) -> set[str]:
    """Return those that run in production: without the base, and without what catches mail in development."""
    return {name for name in names if "/python:" not in name and "/mailpit:" not in name}


def runs(site: Site) -> set[str]:
    """Return the base, Caddy and the server that run, by their digests."""
    names = [line.partition("=")[0] for line in site.releases()[-1][2:]]
    assert all("@sha256:" in name for name in names)
    return {*names}


def test_a_command_pins_every_image_beside_its_tag(site: Site, registry: Registry) -> None:
    said = site.lines("pin")
    assert len(said) == len(registry.names)
    for name in registry.names:
        [line] = [line for line in said if line.startswith(registry.at(name))]
        assert line.endswith(f"-> {registry.digest(name)}")
    assert len(pinned(site, registry)) == len(registry.names)
    assert site.make("pin") == ""
    site.project.compose("config", "--quiet")


def test_what_is_pinned_is_what_runs_and_is_renewed(site: Site, registry: Registry) -> None:
    site.project.commit("Pin the images")
    site.make("secrets")
    site.deploy_commit()
    assert runs(site) == in_production(pinned(site, registry))
    registry.patch()
    assert len(site.lines("pin")) == len(registry.names)
    assert len(pinned(site, registry)) == len(registry.names)
    site.project.commit("Renew the images")
    site.deploy_commit()
    assert runs(site) == in_production(pinned(site, registry))
    web = site.project.inspect((site.project.path / "data/front/web").read_text(encoding="utf-8").strip())
    assert "patched" in site.project.inspect(web["Image"])["Config"]["Labels"]


def test_what_cannot_be_looked_up_changes_nothing(site: Site, registry: Registry) -> None:
    before = site.project.run("git", "diff")
    site.project.docker("stop", registry.container)
    said = site.lines("pin", fails=True)[-1]
    assert said.startswith(registry.at("")), said
    assert "cannot be looked up, and nothing was changed: check its name, the network, and docker login" in said
    assert site.project.run("git", "diff") == before


@pytest.mark.parametrize("digest", ["", "@sha256:0000"])
def test_the_weekly_pull_request_renews_what_is_pinned(digest: str, tmp_path: Path) -> None:
    [job, _] = workflow(ROOT / "template", "upgrade.yml")["jobs"].values()
    [step] = [step["run"] for step in job["steps"] if "run" in step]
    (tmp_path / "make").write_text(MAKE, encoding="utf-8")
    (tmp_path / "make").chmod(0o755)
    (tmp_path / "Dockerfile").write_text(f"ARG PYTHON_IMAGE=python:3.14{digest}\n", encoding="utf-8")
    variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "RUNNER_TEMP": str(tmp_path), "GITHUB_OUTPUT": "output"}
    script = f"git init --quiet; {step}"
    subprocess.run(["bash", "-ec", script], cwd=tmp_path, env=os.environ | variables, check=True, capture_output=True)
    body = (tmp_path / "upgrade" / "body").read_text(encoding="utf-8")
    assert body == "make upgrade\n" + ("make pin\n" if digest else "")
