"""A company's network: no way out but a package index behind the company's own authority, and a proxy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from pip._internal.models.index import PyPI
from pytest_copie.plugin import Copie

from tests.engine import Engine, ensure_image
from tests.support import matrix
from tests.support.index import Index, certificates
from tests.support.matrix import ROOT, Combination
from tests.support.project import Project, clean_up, make_project
from tests.support.proxy import Proxy
from tests.support.workflows import filled_in, workflow

pytestmark = pytest.mark.rotates(
    seconds=190,
    touched_by=[
        *("hooks/docker/*", "hooks/deploy/images.sh", "template/scripts/packages.sh", "template/compose.yaml.jinja"),
        *("template/.github/workflows/ci.yml", "tests/support/index.py", "tests/support/proxy.py"),
    ],
)

HOME = "/home/runner"
CANARY = "canary-77b2"


@dataclass
class Machine:
    """A machine in that network, with a Docker of its own: a GitHub runner, or a developer's."""

    project: Project
    index: Index
    proxy: Proxy
    environment: dict[str, str]

    @property
    def name(self) -> str:
        """The name of its container, and of its network."""
        return f"{self.project.slug}-machine"

    def sh(
        self, script: str, user: str = "runner", *, fails: bool = False, variables: dict[str, str] | None = None
    ) -> str:
        """Run a bash script in the project, with the company's variables, and return what it printed."""
        known = self.environment | (variables or {}) if user == "runner" else {}
        environment = [word for name, value in known.items() for word in ("--env", f"{name}={value}")]
        command = ["bash", "-e", "-c", script]
        where = ["--user", user, "--workdir", f"{HOME}/site" if user == "runner" else "/"]
        return self.project.docker("exec", *where, *environment, self.name, *command, fails=fails)

    def start(self, image: str) -> None:
        """Start it, with the images that the company's registry would have, and the project's repository."""
        names = [*matrix.images(self.project.combination), "caddy:2"]
        for each in names:
            ensure_image(self.project.engine, each)
        options = ["--privileged", "--init", "--tmpfs", "/var/lib/docker:exec", "--network", self.name]
        self.project.docker("run", "--detach", "--name", self.name, *options, image)
        self.sh("timeout 300 sh -c 'until docker version > /dev/null 2>&1; do sleep 0.2; done'", user="root")
        load = f"docker exec --interactive {self.name} docker load --quiet"
        self.project.run("sh", "-ec", f"docker save {' '.join(names)} | {load}")
        self.project.docker("cp", str(self.project.path), f"{self.name}:{HOME}/site")
        self.sh(f"chown --recursive runner: {HOME}/site", user="root")

    def went_its_way(self) -> bool:
        """Return whether the index and the proxy were asked since the last time, and the index without the proxy."""
        asked, through = self.index.asked.copy(), {host for _, host in self.proxy.asked}
        self.index.asked.clear()
        self.proxy.asked.clear()
        assert self.proxy.address not in through, "NO_PROXY is ignored"
        return asked == {("pip", True), ("uv", True)} and bool(through)


@pytest.fixture(scope="module")
def machine(copie_session: Copie, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    combination = Combination("slipway-company", matrix.pick(database="sqlite", use_drf=False).answers)
    project = make_project(copie_session, engine, combination)
    name, folder = f"{project.slug}-machine", tmp_path_factory.mktemp("company")
    made = project.docker("image", "ls", "--quiet", "slipway/debian:testing").strip()
    base = ["--build-arg", "BASE=slipway/debian:testing"] if made else []
    project.docker("build", "--quiet", "--tag", name, *base, str(ROOT / "tests" / "deployment" / "runner"))
    leftovers = f"docker rm --force --volumes {name}; docker network rm --force {name}"
    project.run("sh", "-c", leftovers)
    # From an internal network, only this machine can be reached.
    project.docker("network", "create", "--internal", name)
    gateway = project.docker("network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", name).strip()
    certificates(folder, gateway)
    with Index(folder=folder, login=f"user:{CANARY}", address=gateway) as index, Proxy(gateway) as proxy:
        environment = {
            "INDEX_URL": index.url(),
            "CA_CERT": (folder / "company.crt").read_text(encoding="utf-8"),
            "HTTP_PROXY": proxy.url,
            "HTTPS_PROXY": proxy.url,
            "NO_PROXY": f"{gateway},localhost",
        }
        found = Machine(project, index, proxy, environment)
        try:
            found.start(name)
            yield found
        finally:
            project.run("sh", "-c", f"{leftovers}; docker image rm --force {name}")
            clean_up(project)


def test_there_is_no_other_way_out(machine: Machine) -> None:
    host = re.sub("^https://|/.*", "", PyPI.simple_url)
    assert "curl: " in machine.sh(f"curl --silent --show-error --noproxy '*' https://{host}/", fails=True)
    machine.sh("make build", fails=True, variables=dict.fromkeys(machine.environment, ""))


def test_packages_are_locked_and_upgraded(machine: Machine) -> None:
    for target in ("lock", "upgrade"):
        machine.sh(f"make {target}")
        assert machine.went_its_way(), target
    machine.sh("git checkout --quiet -- 'requirements*.txt'")


def test_development_is_built_and_starts(machine: Machine) -> None:
    machine.sh("""sed -i 's/^ARG RUNTIME_PACKAGES=""/ARG RUNTIME_PACKAGES="media-types"/' Dockerfile""")
    machine.sh("docker compose build")
    debian = {host for method, host in machine.proxy.asked if method != "CONNECT"}
    assert debian, "Debian's packages came another way"
    assert machine.went_its_way()
    machine.sh("make up > ../up.log 2>&1 & timeout 300 sh -c 'until curl -sf localhost:8000/livez; do sleep 0.5; done'")
    machine.sh("make down")


def test_the_checks_of_a_pull_request_run(machine: Machine) -> None:
    document = workflow(machine.project.path, "ci.yml")
    known = {"secrets.INDEX_URL": machine.index.url(), "vars.CA_CERT": machine.environment["CA_CERT"]}
    variables = filled_in(document["env"], known)
    machine.sh("git -c user.name=a -c user.email=a@example.com commit --quiet --all --message Packages")
    for step in document["jobs"]["check"]["steps"]:
        if "run" in step:
            machine.sh(step["run"], variables={"CI": "true", **variables})
    assert machine.went_its_way()


def test_the_site_is_deployed(machine: Machine) -> None:
    machine.sh("docker image rm --force slipway-company; docker builder prune --all --force > ../pruned")
    machine.sh("make secrets; echo SITE_HOST=localhost > production.env; make deploy")
    assert machine.went_its_way()
    machine.sh("curl --silent --insecure --fail https://localhost/")
    label = "label=org.opencontainers.image.title"
    history = machine.sh(f"docker images --quiet --filter {label} | xargs --max-args 1 docker history --no-trunc")
    assert CANARY not in history
    assert machine.proxy.url not in history
