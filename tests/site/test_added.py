"""Packages of every kind, added as the README says and imported in the production image."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pip._internal.models.index import PyPI
from pytest_copie.plugin import Copie

from tests.engine import Engine, change_package_cache
from tests.support import matrix
from tests.support.index import Index, wheel
from tests.support.matrix import Combination
from tests.support.project import Project, clean_up, make_project, reinstalling
from tests.support.releases import commit_all, git

pytestmark = pytest.mark.rotates(
    seconds=350,
    touched_by=["hooks/docker/*", "template/scripts/packages.sh", "tests/support/index.py"],
)

# A package whose build needs no other: it has been built before.
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "harbour"
version = "{version}"
"""
BACKEND = """
import shutil

def build_wheel(folder, *_, **__):
    return shutil.copy("harbour-{version}-py3-none-any.whl", folder).rpartition("/")[2]
"""
USER = "user:canary-40c1"


@pytest.fixture(scope="module", params=[True, False], ids=["multi", "single"])
def team(request: pytest.FixtureRequest, copie_session: Copie, engine: Engine) -> Iterator[Project]:
    """A small project with either Dockerfile."""
    answers = matrix.pick(database="sqlite", use_drf=False, multi_stage=request.param).answers
    name = f"slipway-added-{'multi' if request.param else 'single'}"
    project = make_project(copie_session, engine, Combination(name, answers))
    yield project
    clean_up(project)


@pytest.fixture(autouse=True)
def as_it_was(team: Project) -> Iterator[None]:
    """Take back what a test has added: the next one has another index, or none of its own."""
    yield
    team.run("git", "checkout", "--quiet", "--", ".")
    team.run("git", "clean", "--quiet", "--force", "-d")
    team.run("chown", "--recursive", "--reference", ".", ".")  # git writes files as its own user


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a word."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address(team: Project) -> str:
    """This machine's address for containers and builds."""
    return team.docker("network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", "bridge").strip()


@pytest.fixture(scope="module")
def repository(team: Project, address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The git repository of a package, and the URL from which containers can fetch it."""
    folder = tmp_path_factory.mktemp("git")
    git("init", "--quiet", "--initial-branch", "main", "harbour", at=folder)
    server = ThreadingHTTPServer((address, 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder / "harbour", f"http://{address}:{server.server_port}/harbour/.git"
    server.shutdown()
    server.server_close()


def publish(repository: Path, version: str) -> str:
    """Commit a version of the package, and return the commit."""
    for old in repository.glob("*.whl"):
        old.unlink()
    (repository / f"harbour-{version}-py3-none-any.whl").write_bytes(wheel("harbour", version))
    (repository / "pyproject.toml").write_text(PYPROJECT.format(version=version), encoding="utf-8")
    (repository / "backend.py").write_text(BACKEND.format(version=version), encoding="utf-8")
    commit_all(repository)
    git("update-server-info", at=repository)
    return git("rev-parse", "HEAD", at=repository).strip()


def readme(project: Project, after: str) -> str:
    """Return the part of the README that follows these words, on one line."""
    text = " ".join((project.path / "README.md").read_text(encoding="utf-8").split())
    assert after in text
    return text.partition(after)[2]


def depend(project: Project, *requirements: str) -> None:
    """Add requirements at the place in pyproject.toml that is for them."""
    line = "finds no conflict.\n"
    project.edit("pyproject.toml", line, line + "".join(f'  "{each}",\n' for each in requirements))


def system(project: Project, argument: str, packages: str) -> None:
    """Add Debian packages to an argument of the Dockerfile."""
    path = project.path / "Dockerfile"
    text, found = re.subn(
        rf'(?m)^(ARG {argument})="(.*)"$',
        lambda match: f'{match[1]}="{f"{match[2]} {packages}".strip()}"',
        path.read_text(encoding="utf-8"),
    )
    assert found == 1
    path.write_text(text, encoding="utf-8")


def last_line(said: str) -> str:
    """Return what a failed build or lock says last."""
    [*_, line] = re.findall(r"(?:\w+ \S+|Listing .*) failed: .*", said)
    return str(line)


def in_the_image(project: Project, code: str) -> str:
    """Run Python in the production image, and return what it prints."""
    return project.docker("run", "--rm", "--network", "none", project.slug, "python", "-c", code).strip()


def test_packages_from_git_a_file_and_an_index_of_ones_own(
    team: Project, address: str, repository: tuple[Path, str], tmp_path: Path
) -> None:
    source, url = repository
    commit = publish(source, "1.0")
    wheels = team.path / "wheels"
    wheels.mkdir()
    (wheels / "slipwaydinghy-1.0-py3-none-any.whl").write_bytes(wheel("slipwaydinghy", "1.0"))
    packages: dict[str, dict[str, Any]] = {"slipwayanchor": {"1.0": 100}}
    before = (team.path / "requirements.txt").read_text(encoding="utf-8")
    with Index(packages, address=address, login=USER, forwards=False) as index:
        team.environment["INDEX_URL"] = f"{index.url().replace(USER, 'user:wrong')} {PyPI.simple_url}"
        depend(team, f"harbour @ git+{url}@{commit}", "slipwaydinghy==1.0", "slipwayanchor>=1")
        said = last_line(team.run("make", "lock", fails=True))
        assert said.endswith("a package comes from git: add git to BUILD_PACKAGES in the Dockerfile")
        system(team, "BUILD_PACKAGES", "git")
        said = last_line(team.run("make", "lock", fails=True))
        assert said.endswith("a package index refuses the login: check the user and the password in INDEX_URL")
        assert (team.path / "requirements.txt").read_text(encoding="utf-8") == before
        team.environment["INDEX_URL"] = f"{index.url()} {PyPI.simple_url}"
        said = team.run("make", "lock")
        assert said.splitlines() == [
            f"harbour none -> git+{url}@{commit}",
            "slipwayanchor none -> 1.0",
            "slipwaydinghy none -> 1.0",
        ]
        said = team.run("make", "build")
        code = "from importlib.metadata import version; import {}; print(*map(version, '{}'.split(', ')))"
        names = "harbour, slipwayanchor, slipwaydinghy"
        assert in_the_image(team, code.format(names, names)) == "1.0 1.0 1.0"
    newer = publish(source, "2.0")
    team.edit("pyproject.toml", commit, newer)
    (wheels / "slipwaydinghy-1.0-py3-none-any.whl").unlink()
    (wheels / "slipwaydinghy-2.0-py3-none-any.whl").write_bytes(wheel("slipwaydinghy", "2.0"))
    team.edit("pyproject.toml", "slipwaydinghy==1.0", "slipwaydinghy==2.0")
    packages["slipwayanchor"]["2.0"] = 30
    with Index(packages, address=address, login=USER, forwards=False) as index:
        team.environment["INDEX_URL"] = f"{index.url()} {PyPI.simple_url}"
        said += team.run("make", "upgrade", "PKG=slipwayanchor")
        for change in (f"git+{url}@{commit} -> git+{url}@{newer}", "slipwayanchor 1.0 -> 2.0", "dinghy 1.0 -> 2.0"):
            assert change in said
        said += team.run("make", "build")
    del team.environment["INDEX_URL"]
    assert in_the_image(team, code.format(names, names)) == "2.0 2.0 2.0"
    assert "canary" not in said + team.docker("history", "--no-trunc", team.slug)
    lock = (team.path / "requirements.txt").read_text(encoding="utf-8")
    assert len(re.findall(r"(?m)^slipway\w+==2.0 \\\n    --hash=sha256:", lock)) == 2
    assert "canary" not in lock


def test_packages_that_are_compiled_and_load_libraries(team: Project) -> None:
    # An earlier run may have compiled them.
    forget = r"find /root/.cache/uv -regex '.*/sdists-.*/\(pycairo\|pillow\)' -prune -exec rm -r {} +"
    change_package_cache(team.engine, matrix.images(team.combination)[0], forget)
    depend(team, "pycairo>=1.27", "pillow>=12")
    from_source = readme(team, "To compile a package that has a wheel, add ").partition(" to `[tool.uv.pip]`")[0]
    lines = "\n".join(re.findall(r"`([^`]+)`", from_source))
    team.edit("pyproject.toml", "[tool.uv.pip]\n", f"[tool.uv.pip]\n{lines}\n")
    team.run("make", "lock")
    said = last_line(team.run("make", "build", fails=True))
    assert re.fullmatch(
        r"Installing requirements.txt failed: (pycairo|pillow)==\S+ must be compiled, but a compiler or a "
        r"library is missing: add the Debian packages .* to BUILD_PACKAGES in the Dockerfile, "
        r"or run `make lock` if pyproject.toml no longer needs it",
        said,
    )
    takes = dict(re.findall(r'`(\w+)="(.+?)"`', readme(team, "pycairo, for example, takes ").partition(";")[0]))
    assert set(takes) == {"BUILD_PACKAGES", "RUNTIME_PACKAGES"}
    for argument, packages in takes.items():
        system(team, argument, packages)
    system(team, "RUNTIME_PACKAGES", "libjpeg62-turbo")
    assert "pillow==" in last_line(team.run("make", "build", fails=True))
    system(team, "BUILD_PACKAGES", "libjpeg62-turbo-dev zlib1g-dev")
    with reinstalling(team):  # an earlier run may have built the same
        team.run("make", "build")
    code = "import cairo; from PIL import features; print(cairo.cairo_version() > 0, features.check('jpg'))"
    assert in_the_image(team, code) == "True True"
    assert in_the_image(team, "import shutil; print(shutil.which('gcc'), shutil.which('pkg-config'))") == "None None"
    with reinstalling(team):
        team.run("make", "build")
    installed = "print(' install gcc' in open('/var/log/dpkg.log').read())"
    assert in_the_image(team, installed) == "False", "what has been compiled before is compiled again"


def test_a_package_that_loads_libraries_writes_a_pdf(team: Project) -> None:
    """WeasyPrint. Once, because no build tools are involved, in which the Dockerfiles differ."""
    if not team.combination.answers["multi_stage"]:
        return
    takes = re.search(r'`RUNTIME_PACKAGES="(.+?)"`', readme(team, "WeasyPrint only"))
    assert takes
    depend(team, "weasyprint>=69")
    team.run("make", "lock")
    system(team, "RUNTIME_PACKAGES", takes[1])
    team.run("make", "build")
    code = "import weasyprint; print(weasyprint.HTML(string='<h1>Ahoy</h1>').write_pdf()[:5].decode())"
    assert in_the_image(team, code) == "%PDF-"


def test_a_debian_package_that_does_not_exist(team: Project) -> None:
    system(team, "RUNTIME_PACKAGES", "no-such-package")
    said = last_line(team.run("make", "build", fails=True))
    assert said.endswith("this release of Debian has no such package: look up its name at packages.debian.org")
