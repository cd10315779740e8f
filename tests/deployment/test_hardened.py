"""A hardened base image, without a shell, a package manager and root: the image builds on it, and all of it runs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest
from pytest_copie.plugin import Copie

from tests.engine import Engine, ensure_image
from tests.support import matrix
from tests.support.matrix import Combination
from tests.support.production import Site
from tests.support.project import Project, clean_up, free_port, make_project

pytestmark = pytest.mark.rotates(
    seconds=60,
    touched_by=["hooks/docker/*", "hooks/production/celery.yaml", "template/deploy/*"],
)
# Python and the libraries, as in Docker's hardened images and Google's distroless ones.
HARDENED = """
FROM {python} AS full
RUN mkdir /out /out/etc && cp --archive /usr/lib64 /usr/local /usr/lib /usr/share/zoneinfo /out/ && mkdir /out/usr \
    && cd /out && mv lib64 local lib usr/ && mkdir usr/share && mv zoneinfo usr/share/ && ln -s usr/lib usr/lib64 . \
    && cp --archive /etc/ssl /etc/ld.so.* /etc/mime.types etc/ && echo root:x:0:0::/root:/ > etc/passwd \
    && mkdir -m 1777 tmp
FROM scratch
COPY --from=full /out /
ENV PATH=/usr/local/bin LANG=C.UTF-8
USER 65532:65532
"""


@pytest.fixture(scope="module")
def base(engine: Engine) -> Iterator[str]:
    """The name of a hardened image for the newest Python."""
    python = matrix.images(matrix.default_combination())[0]
    ensure_image(engine, python)
    name = "slipway-hardened-base:1"
    build = ["docker", "build", "--quiet", "--tag", name, "-"]
    text = HARDENED.format(python=python)
    subprocess.run(build, input=text, env=engine.env, check=True, text=True, stdout=subprocess.PIPE)
    yield name
    subprocess.run(["docker", "image", "rm", name], env=engine.env, check=False, stdout=subprocess.PIPE)


@pytest.fixture(scope="module")
def made(copie_session: Copie, engine: Engine, base: str) -> Iterator[Project]:
    """A project whose driver needs a system library, with a worker, on the hardened image."""
    answers = matrix.pick(database="mariadb", use_celery=True).answers
    project = make_project(copie_session, engine, Combination("slipway-hardened", answers))
    project.edit("Dockerfile", "ARG RUNTIME_IMAGE=base\n", f"ARG RUNTIME_IMAGE={base}\n")
    project.commit("Take the hardened image")
    yield project
    clean_up(project)


@pytest.fixture(scope="module")
def site(made: Project) -> Iterator[Site]:
    """The deployed site: web, worker and beat are healthy, and the home page has come through Caddy."""
    site = Site(made, free_port(), free_port())
    site.configure(94, "PULL=0")
    try:
        site.make("secrets")
        site.deploy_commit()
        yield site
    finally:
        site.remove()


def test_it_runs_without_a_shell(site: Site) -> None:
    image = f"{site.project.slug}:{site.latest()}"
    for tool in ("sh", "/bin/sh", "apt-get", "/usr/bin/env"):
        said = site.project.docker("run", "--rm", "--entrypoint", tool, image, fails=True)
        assert "no such file or directory" in said or "not found" in said
    assert site.status("/") == 200
    assert site.readiness() == 200
    for service in ("web", "worker", "beat"):
        for container in site.compose("ps", "--quiet", service).split():
            state = site.project.inspect(container)["State"]
            assert state["Health"]["Status"] == "healthy"
            said = state["Health"]["Log"][-1]["Output"]
            assert service == "web" or re.match(r"\d\d:\d\d:\d\d \w", said), said


def test_it_is_operated_and_backed_up_without_a_shell(site: Site) -> None:
    assert "no issues" in site.make("prod-manage", "CMD=check")
    assert site.make("backup").splitlines()[-1].endswith(".tar")


def test_it_tells_scanners_of_the_library_that_it_has(site: Site) -> None:
    code = "print(open('/var/lib/dpkg/status.d/libmariadb3').read())"
    assert "Package: libmariadb3\n" in site.compose("exec", "-T", "web", "python", "-c", code)


def test_development_keeps_the_image_with_a_shell(site: Site) -> None:
    said = site.project.compose("run", "--rm", "--no-deps", "--build", "web", "sh", "-c", "echo works")
    assert said.endswith("works\n")
