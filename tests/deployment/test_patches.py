"""Patched images on one host: they arrive, a rollback brings back what ran, and a registry may be away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_copie.plugin import Copie

from tests.engine import Engine, ensure_image
from tests.support import matrix
from tests.support.matrix import Combination
from tests.support.production import Site, add_ledger
from tests.support.project import Project, clean_up, free_port, make_project
from tests.support.registry import Registry

pytestmark = pytest.mark.rotates(
    seconds=150,
    touched_by=[
        *("hooks/deploy/*.sh", "*/production.sh*", "*compose.production*"),
        "tests/support/production.py",
    ],
)

KEPT = 5  # releases
COMMIT = ""  # no tag: the checked-out commit is built


@pytest.fixture(scope="module")
def made(copie_session: Copie, engine: Engine) -> Iterator[Project]:
    """A project with PostgreSQL and an app that stores rows."""
    answers = matrix.pick(database="postgres", use_celery=False).answers
    project = make_project(copie_session, engine, Combination("slipway-patches", answers))
    add_ledger(project)
    yield project
    clean_up(project)


@pytest.fixture(scope="module")
def registry(made: Project) -> Iterator[Registry]:
    """A registry that the project takes all of its images from."""
    python, database = matrix.images(made.combination)[:2]
    registry = Registry(made, [python, database, "caddy:2"])
    for name in registry.names:
        ensure_image(made.engine, name)
    try:
        registry.start()
        for name, file in {python: "Dockerfile", database: "compose.production.yaml"}.items():
            made.edit(file, name, registry.at(name))
        text = (made.path / "compose.production.yaml").read_text(encoding="utf-8")
        text = text.replace("image: caddy:2", f"image: {registry.at('caddy:2')}")
        (made.path / "compose.production.yaml").write_text(text, encoding="utf-8")
        made.commit("Take the images from our registry")
        yield registry
    finally:
        registry.remove()


@pytest.fixture(scope="module")
def site(made: Project, registry: Registry) -> Iterator[Site]:
    """The deployed site, before any patch."""
    site = Site(made, free_port(), free_port())
    site.configure(88)
    try:
        site.make("secrets")
        site.deploy_commit()
        made.docker("tag", f"{made.slug}:{made.environment['TAG']}", f"{made.slug}:good")
        yield site
    finally:
        site.remove()


def ran(site: Site) -> list[str]:
    """Return the images that run, as data/releases names them: the site's, Caddy's and the database's."""
    web = (site.project.path / "data" / "front" / "web").read_text(encoding="utf-8").strip()
    names = [web, *(site.compose("ps", "--quiet", service).strip() for service in ("caddy", "database"))]
    return [f"{state['Config']['Image']}={state['Image']}" for state in map(site.project.inspect, names)]


def patched(site: Site) -> set[bool]:
    """Return whether the images that run are patched ones."""
    found = [site.project.inspect(image.partition("=")[2])["Config"]["Labels"] or {} for image in ran(site)]
    return {"patched" in labels for labels in found}


def test_what_runs_is_recorded(site: Site) -> None:
    assert site.releases() == [[site.project.environment["TAG"], *ran(site)]]
    assert patched(site) == {False}


def test_patches_arrive_by_a_command(site: Site, registry: Registry) -> None:
    registry.patch()
    with site.production_env("PULL=0"):
        site.deploy(COMMIT)
        assert patched(site) == {False}
        with site.tagged(COMMIT):
            site.make("prod-patch")
    assert patched(site) == {True}
    assert site.releases()[-1][1:] == ran(site)


def test_a_rollback_brings_back_exactly_what_ran(site: Site) -> None:
    first = site.releases()[0]
    site.make("rollback", f"TAG={first[1].partition('=')[2][:20]}")
    assert ran(site) == first[1:] == site.releases()[-1][1:]
    assert site.status("/") == 200
    site.deploy(COMMIT)
    assert patched(site) == {True}


def test_an_interrupted_build_leaves_the_name_with_what_runs(site: Site) -> None:
    [image, *_] = ran(site)
    site.variant("other", "LABEL other=yes")
    site.project.docker("tag", f"{site.project.slug}:other", image.partition("=")[0])
    site.make("backup")
    assert site.project.inspect(image.partition("=")[0])["Id"] == image.partition("=")[2]


def test_a_registry_that_is_away_stops_nothing(site: Site, registry: Registry) -> None:
    site.project.docker("stop", registry.container)
    with site.tagged(COMMIT):
        said = site.lines("prod-patch")
    [line] = [line for line in said if "cannot be pulled" in line]
    assert line.startswith("These images cannot be pulled, so those that are here are used: ")
    assert all(f"{registry.at(name)} (" in line for name in registry.names)
    assert " is up at " in said[-1]
    with site.production_env("PULL=0"):
        assert "cannot be pulled" not in site.deploy(COMMIT)


def test_the_last_five_releases_are_kept(site: Site) -> None:
    """Written into data/releases as if they had been deployed: deploying them shows nothing new."""
    file = site.project.path / "data" / "releases"
    tags = [f"old{number}" for number in range(KEPT + 1)]
    lines = []
    for tag in tags:
        site.variant(tag, f"LABEL old={tag}")
        name = f"{site.project.slug}:{tag}"
        lines.append(f"2026-01-01T00:00:00Z {tag} {name}={site.project.inspect(name)['Id']}\n")
    lines[0] = f"2026-01-01T00:00:00Z {tags[0]}\n"  # as an earlier version of the script wrote it
    current = file.read_text(encoding="utf-8").splitlines(keepends=True)[-1]
    file.write_text("".join([*lines, current]), encoding="utf-8")
    site.variant("next", "LABEL old=no")
    site.deploy("next")
    listed = site.project.docker("image", "ls", "--format", "{{.Tag}}", site.project.slug).split()
    version = current.split()[1]
    assert {version, "next", *tags[-3:]} <= {*listed}
    assert not {*tags[:-3]} & {*listed}
    assert site.serving() == "next"
    site.make("rollback", f"TAG={tags[-1]}")
    assert site.serving() == tags[-1]
