"""Locking, upgrading and installing packages, with a small index on this machine and without Docker."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.index import Index, certificates
from tests.support.matrix import ROOT
from tests.support.rendered import copier_copy, tool
from tests.support.workflows import workflow

pytestmark = pytest.mark.rotates(
    seconds=60,
    touched_by=[
        "template/scripts/packages.sh",
        "template/Makefile.jinja",
        "template/pyproject.toml.jinja",
        "template/.github/workflows/upgrade.yml",
    ],
)

# name -> version -> days since it was published
PACKAGES: dict[str, dict[str, Any]] = {
    "anchor": {"1.0": 100, "1.1": 30, "1.2": 0},
    "buoy": {"1.0": 100, "2.0": 30},
    "chain": {"1.0": 100},
    "dory": {"1.0": "source"},
    "eddy": {"1.0": "dynamic"},
}
# In place of `docker`: it runs the container's command here.
DOCKER = """#!/bin/sh
case "$1" in version | compose) echo 2.26; exit ;; esac
while [ "$1" != sh ]; do shift; done
exec "$@"
"""
# In place of `pip`, because nothing is locked: it installs this machine's uv.
PIP = """#!/bin/sh
while [ "$1" != --target ]; do shift; done
mkdir -p "$2/bin"
cp "$(command -v uv)" "$2/bin/uv"
"""
# As the owner of the folder, which the container would ask /app for.
OWNER = {"HOST_UID": str(os.getuid()), "HOST_GID": str(os.getgid())}
QUIET = {**OWNER, "MAKEFLAGS": "", "UV_HTTP_RETRIES": "0", "UV_PYTHON_DOWNLOADS": "never"}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that needs three tiny packages, of which nothing is locked yet."""
    folder = tmp_path_factory.mktemp("packages") / "site"
    assert copier_copy(folder, "project_name=Site").returncode == 0
    pyproject = folder / "pyproject.toml"
    text = pyproject.read_text(encoding="utf-8")
    wanted = {"dependencies": '["anchor", "buoy"]', "dev": '["anchor", "chain"]', "build": "[]"}
    for name, packages in wanted.items():
        text, found = re.subn(rf"(?ms)^{name} = \[.*?\]$", f"{name} = {packages}", text)
        assert found == 1
    pyproject.write_text(text, encoding="utf-8")
    for lock in folder.glob("requirements*.txt"):
        lock.write_text("", encoding="utf-8")
    return folder


class Site:
    """A copy of that project, with an index to ask."""

    def __init__(self, rendered: Path, folder: Path, index: Index) -> None:
        self.path = folder / "site"
        subprocess.run(["cp", "--recursive", rendered, self.path], check=True)
        for name, text in (("docker", DOCKER), ("pip", PIP)):
            (folder / name).write_text(text, encoding="utf-8")
            (folder / name).chmod(0o755)
        path = f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_", "SSL_"))}
        self.environment = {**inherited, **QUIET, **OWNER, "PATH": path, "HOME": str(folder), "INDEX_URL": index.url()}

    def run(self, *command: str, fails: bool = False) -> str:
        """Run a command, and return its output; AssertionError if it fails, or with `fails` if it does not."""
        result = subprocess.run(
            command, cwd=self.path, env=self.environment, capture_output=True, text=True, check=False
        )
        assert bool(result.returncode) == fails, result.stdout + result.stderr
        return result.stdout + result.stderr

    def edit(self, name: str, pattern: str, replacement: str) -> None:
        """Replace text in a file; AssertionError if it is not there."""
        path = self.path / name
        text, found = re.subn(pattern, replacement, path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert found, pattern
        path.write_text(text, encoding="utf-8")

    def pins(self, lock: str) -> dict[str, str]:
        """Return what a lock pins: name -> version."""
        return dict(re.findall(r"(?m)^(\w+)==(\S+)", (self.path / lock).read_text(encoding="utf-8")))


@pytest.fixture
def index() -> Iterator[Index]:
    with Index(PACKAGES) as started:
        yield started


@pytest.fixture
def site(rendered: Path, tmp_path: Path, index: Index) -> Site:
    return Site(rendered, tmp_path, index)


def test_an_edit_changes_what_it_needs_and_an_upgrade_the_rest(site: Site) -> None:
    site.edit("pyproject.toml", '"anchor", "buoy"', '"anchor<1.1", "buoy<2"')
    assert site.run("make", "lock") == "anchor none -> 1.0\nbuoy none -> 1.0\nchain none -> 1.0\n"
    site.edit("pyproject.toml", '"anchor<1.1", "buoy<2"', '"anchor", "buoy>1"')
    assert site.run("make", "lock") == "buoy 1.0 -> 2.0\n"
    assert site.pins("requirements.txt") == {"anchor": "1.0", "buoy": "2.0"}
    assert site.pins("requirements-dev.txt") == {"anchor": "1.0", "buoy": "2.0", "chain": "1.0"}
    assert site.run("make", "upgrade", "PKG=buoy chain") == ""
    assert site.run("make", "upgrade", "PKG=anchor") == "anchor 1.0 -> 1.1\n"
    site.edit("pyproject.toml", '"anchor", "buoy>1"', '"anchor", "buoy<2"')
    site.run("make", "lock")
    site.edit("pyproject.toml", '"anchor", "buoy<2"', '"buoy"')
    assert site.run("make", "upgrade") == "buoy 1.0 -> 2.0\n"
    site.edit("pyproject.toml", r'dev = \["anchor", ', "dev = [")
    assert site.run("make", "lock") == "anchor 1.1 -> none\n"


def test_development_has_the_versions_of_production(site: Site) -> None:
    site.edit("pyproject.toml", '"anchor", "buoy"', '"anchor<1.1", "buoy"')
    site.run("make", "lock")
    (site.path / "requirements-dev.txt").write_text("", encoding="utf-8")
    site.edit("pyproject.toml", '"anchor<1.1", "buoy"', '"anchor", "buoy"')
    assert site.run("make", "lock") == "chain none -> 1.0\n"
    assert site.pins("requirements-dev.txt")["anchor"] == site.pins("requirements.txt")["anchor"] == "1.0"


def test_what_was_published_just_now_waits_unless_it_is_let_pass(site: Site) -> None:
    assert "anchor none -> 1.1\n" in site.run("make", "lock")
    assert site.run("make", "upgrade") == ""
    said = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    exception = re.search("`(exclude-newer-package = .*)`", said)
    assert exception
    site.edit("pyproject.toml", "^exclude-newer = ", exception[1].replace("django", "anchor") + "\n\\g<0>")
    assert site.run("make", "upgrade", "PKG=anchor") == "anchor 1.1 -> 1.2\n"
    assert site.run("make", "lock") == ""  # as in CI


def test_an_index_without_upload_times_works_once_the_cooldown_is_off(site: Site, index: Index) -> None:
    index.upload_times = False
    before = (site.path / "requirements.txt").read_text(encoding="utf-8")
    assert "failed: exclude-newer excludes every matching version" in site.run("make", "lock", fails=True)
    assert (site.path / "requirements.txt").read_text(encoding="utf-8") == before
    site.edit("pyproject.toml", "^exclude-newer = .*\n", "")
    assert "anchor none -> 1.2\n" in site.run("make", "lock")


def test_a_lock_that_fails_says_why_and_changes_nothing(site: Site) -> None:
    site.run("make", "lock")
    before = site.pins("requirements-dev.txt")
    site.edit("pyproject.toml", '"chain"', '"anchor==1.0"')
    site.edit("pyproject.toml", '"anchor", "buoy"', '"anchor>1", "buoy<2"')
    said = site.run("make", "lock", fails=True)
    assert "anchor" in said
    assert "Locking requirements-dev.txt failed: no set of versions satisfies pyproject.toml" in said
    assert site.pins("requirements.txt")["buoy"] == "2.0"
    assert site.pins("requirements-dev.txt") == before
    site.environment["INDEX_URL"] = "http://127.0.0.1:1/simple"
    (site.path / ".cache").mkdir()
    site.environment["UV_CACHE_DIR"] = str(site.path / ".cache")
    assert "failed: the package index does not answer" in site.run("make", "lock", fails=True)


def test_an_authority_of_ones_own_is_trusted(rendered: Path, tmp_path: Path) -> None:
    certificates(tmp_path, "127.0.0.1")
    with Index(PACKAGES, folder=tmp_path, login="user:secret") as index:
        site = Site(rendered, tmp_path, index)
        assert "failed: the index's certificate is not trusted: set CA_CERT" in site.run("make", "lock", fails=True)
        site.environment["CA_CERT"] = (tmp_path / "company.crt").read_text(encoding="utf-8")
        assert "anchor none -> 1.1\n" in site.run("make", "lock")
    assert index.asked == {("uv", True)}


@pytest.mark.parametrize(
    ("pattern", "replacement", "said"),
    [
        ("sha256:.", "sha256:0", "the index's files differ from the locked ones"),
        (r" \\\n.*", "", "hashes are missing: run `make lock`"),
        ("anchor==1.1", "anchor==9.9", "the lock is outdated: run `make lock`"),
    ],
)
def test_an_install_that_fails_says_why(site: Site, pattern: str, replacement: str, said: str) -> None:
    site.run("make", "lock")
    site.run(tool("uv"), "venv", "--quiet", "--python", sys.executable, ".venv")
    site.run("sh", "scripts/packages.sh", "install", "requirements.txt")
    site.run(tool("uv"), "pip", "uninstall", "anchor", "buoy")
    site.edit("requirements.txt", pattern, replacement)
    out = site.run("sh", "scripts/packages.sh", "install", "requirements.txt", fails=True)
    assert f"Installing requirements.txt failed: {said}" in out.splitlines()[-1]


def test_a_missing_compiler_is_named(site: Site) -> None:
    site.edit("pyproject.toml", '"anchor", "buoy"', '"dory"')
    site.run("make", "lock")
    site.run(tool("uv"), "venv", "--quiet", "--python", sys.executable, ".venv")
    out = site.run("sh", "scripts/packages.sh", "install", "requirements.txt", fails=True)
    assert "command 'gcc' failed" in out
    assert "dory==1.0 must be compiled, but a compiler or a library is missing: add" in out.splitlines()[-1]


def test_a_package_that_tells_nothing_until_it_is_built_takes_what_builds_the_image(site: Site, tmp_path: Path) -> None:
    """With an `apt-get` that notes what it was asked for: without the packages, the second try fails as the first."""
    (tmp_path / "apt-get").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n', encoding="utf-8")
    (tmp_path / "apt-get").chmod(0o755)
    (tmp_path / "rm").write_text('#!/bin/sh\ncase "$2" in /var/*) ;; *) exec /bin/rm "$@" ;; esac\n', encoding="utf-8")
    (tmp_path / "rm").chmod(0o755)
    site.edit("pyproject.toml", '"anchor", "buoy"', '"eddy"')
    said = "Locking requirements.txt failed: eddy==1.0 must be compiled"
    assert said in site.run("make", "lock", fails=True)
    assert not (tmp_path / "asked").exists()
    site.edit("Dockerfile", '^ARG BUILD_PACKAGES=""', 'ARG BUILD_PACKAGES="gcc libc6-dev"')
    assert said in site.run("make", "lock", fails=True)
    assert (tmp_path / "asked").read_text(encoding="utf-8").splitlines()[1].endswith(" gcc libc6-dev")


def test_every_build_is_given_the_index_and_the_authority() -> None:
    """And the proxy; in the Makefile, the scripts and the workflows. compose.yaml is tested with Docker."""
    sources = [path for folder in ("template", "hooks") for path in (ROOT / folder).rglob("*") if path.is_file()]
    texts = [path.read_text(encoding="utf-8") for path in sources if path.suffix != ".md" and "README" not in path.name]
    builds = [line for text in texts for line in text.replace("\\\n", " ").splitlines() if "docker build " in line]
    assert len(builds) == 4
    for line in builds:
        assert "--secret id=index-url,env=INDEX_URL --secret id=ca-cert,env=CA_CERT" in line
        assert "--build-arg HTTP_PROXY --build-arg HTTPS_PROXY --build-arg NO_PROXY" in line


# In place of GitHub's command-line tool: one pull request is open once it has been created.
GH = """#!/bin/sh
echo "$@" >> "$RUNNER_TEMP/gh"
case $2 in list) grep -c "^pr create" "$RUNNER_TEMP/gh" ;; esac || true
"""


def test_the_weekly_pull_request(site: Site, tmp_path: Path) -> None:
    site.edit("pyproject.toml", '"anchor", "buoy"', '"anchor<1.1", "buoy"')
    site.run("make", "lock")
    site.edit("pyproject.toml", '"anchor<1.1", "buoy"', '"anchor", "buoy"')
    (tmp_path / "gh").write_text(GH, encoding="utf-8")
    (tmp_path / "gh").chmod(0o755)
    site.environment |= {"RUNNER_TEMP": str(tmp_path / "runner"), "GITHUB_OUTPUT": str(tmp_path / "output")}
    commit = "git init -q -b main; git add -A; git -c user.name=a -c user.email=a@example.com commit -qm Start"
    site.run("sh", "-ec", f"{commit}; git init -q --bare {tmp_path}/origin; git remote add origin {tmp_path}/origin")
    upgrade, propose = workflow(site.path, "upgrade.yml")["jobs"].values()
    assert "write" not in upgrade["permissions"].values()
    steps = [step["run"] for job in (upgrade, propose) for step in job["steps"] if "run" in step]
    for _ in range(2):
        site.run("sh", "-ec", "git switch -q main; git branch -q -D upgrade || true")
        site.run("sh", "-ec", 'rm -rf "$RUNNER_TEMP/upgrade"; mkdir -p "$RUNNER_TEMP"')
        site.run("bash", "-e", "-c", steps[0])
        assert (tmp_path / "output").read_text(encoding="utf-8").endswith("changed=true\n")
        site.run("git", "reset", "--quiet", "--hard")
        site.run("bash", "-e", "-c", steps[1])
        assert "anchor 1.0 -> 1.1" in site.run("git", "log", "-1", "--format=%b", "origin/upgrade")
    called = [line.split(" --")[0] for line in (tmp_path / "runner/gh").read_text(encoding="utf-8").splitlines()]
    assert called == ["pr list", "pr create", "pr list", "pr edit upgrade"]
