"""From a push to production: the steps of the generated workflows, run as on a GitHub runner.

The runner has its own Docker with the containerd image store, which the workflow needs and GitHub's runners have.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from pytest_copie.plugin import Copie

from tests.engine import Engine, ensure_image
from tests.support import matrix
from tests.support.matrix import ROOT, Combination
from tests.support.project import Project, clean_up, make_project
from tests.support.workflows import workflow

pytestmark = pytest.mark.rotates(
    seconds=300,
    touched_by=[
        "template/.github/*",
        "template/scripts/audit.sh",
        "hooks/deploy/signed.sh",
        "tests/deployment/runner/*",
    ],
)


RUNNER = ROOT / "tests" / "deployment" / "runner"
REGISTRY = "localhost:5000"
IMAGE = f"{REGISTRY}/team/site"
HOME = "/home/runner"
PRODUCTION = f"{HOME}/production"

# What only GitHub or the internet can show; the report lists it.
ELSEWHERE = (
    "The arm64 image was built and started on this machine's architecture; GitHub has arm64 machines.",
    "The SBOM and the scan came from stand-ins for Syft and Grype, whose images and database are not available here; "
    "the stand-ins check how they are called.",
    "The image was signed by the real cosign, but with a key: the certificates for the workflow's identity come from "
    "Sigstore, which cannot be reached here.",
    "Images were pushed to Debian's docker-registry, without a password: GHCR, Docker Hub and the permissions of the "
    "job's token were not tested.",
    "SSH led to the same machine; GitHub's environments and concurrency groups were not tested.",
)


@dataclass
class Push:
    """A pushed commit, on a branch or as a tag."""

    sha: str
    tag: str = ""
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    said: str = ""

    @property
    def version(self) -> str:
        """The tag of its image."""
        return self.sha[:12]


class Runner:
    """A machine that runs the jobs of publish.yml, one after the other."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.name = f"{project.slug}-runner"

    def remove(self) -> None:
        """Remove the runner, or one that a killed run left behind."""
        self.project.run("sh", "-c", f"docker rm --force {self.name}; docker image rm --force {self.name} || true")

    def start(self) -> None:
        """Start the runner, with a registry and the images that it would otherwise pull."""
        self.remove()
        names = [*matrix.images(self.project.combination), "caddy:2", "registry:2"]
        for name in names:
            ensure_image(self.project.engine, name)
        own = "slipway/debian:testing"  # the base of the engine's stand-ins
        made = self.project.docker("image", "ls", "--quiet", own).strip()
        base = ["--build-arg", f"BASE={own}"] if made else []
        self.project.docker("build", "--quiet", "--tag", self.name, *base, str(RUNNER))
        # In memory, which is faster and leaves nothing behind.
        options = ["--privileged", "--init", "--tmpfs", "/var/lib/docker:exec", "--name", self.name]
        self.project.docker("run", "--detach", *options, self.name)
        self.sh("timeout 300 sh -c 'until docker version > /dev/null 2>&1; do sleep 0.2; done'", user="root")
        self.project.run("sh", "-ec", f"docker save {' '.join(names)} | docker exec -i {self.name} docker load --quiet")
        self.sh("docker run --detach --name registry --publish 127.0.0.1:5000:5000 registry:2")
        self.sh("timeout 300 sh -c 'until curl --silent --fail http://localhost:5000/v2/; do sleep 0.2; done'")
        python = names[0]
        for tool in ("sbom", "scanner"):
            self.sh(
                f"printf 'FROM {python}\\nCOPY {tool}.py /\\nENTRYPOINT [\"/{tool}.py\"]\\n'"
                f" | docker build --quiet --provenance false --tag {tool} --file - /srv"
            )
        self.sh(
            f"printf 'FROM {python}\\nCOPY signer /ko-app/cosign\\n'"
            " | docker build --quiet --provenance false --tag signer --file - /srv; cosign generate-key-pair",
            COSIGN_PASSWORD="",
        )
        self.sh(f"git init --quiet --bare --initial-branch main {HOME}/origin")

    def sh(
        self, script: str, *options: str, at: str = HOME, user: str = "runner", fails: bool = False, **variables: str
    ) -> str:
        """Run a bash script on the runner, and return what it printed."""
        environment = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
        where = ["--user", user, "--workdir", at]
        command = ["bash", "--noprofile", "--norc", "-e", *options, "-c", script]
        return self.project.docker("exec", *where, *environment, self.name, *command, fails=fails)

    def push(self, message: str, tag: str = "") -> Push:
        """Commit all changes, push them to the stand-in for GitHub, and return the push."""
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
        self.project.run("git", "add", "--all")
        self.project.run("git", *identity, "commit", "--quiet", "--allow-empty", "--message", message)
        sha = self.project.run("git", "rev-parse", "HEAD").strip()
        bundle = "git bundle create --quiet - main"
        receive = f"docker exec -i --user runner --workdir {HOME}/origin {self.name} sh -ec"
        fetch = "cat > ../bundle; git fetch --quiet ../bundle main:main"
        self.project.run("sh", "-ec", f'{bundle} | {receive} "{fetch}"')
        return Push(sha, tag)

    def job(self, push: Push, job: str, fails: str = "", **variant: str) -> str:
        """Run one of publish.yml's jobs, up to the step that `fails`; return what it printed."""
        document = workflow(self.project.path, "publish.yml")
        definition = document["jobs"][job]
        self.sh("rm -rf work temp && mkdir work temp && touch temp/env temp/output temp/summary")
        known = self.known(push, variant, {})
        environment = {
            "GITHUB_SHA": push.sha,
            "GITHUB_REF_TYPE": "tag" if push.tag else "branch",
            "GITHUB_REF_NAME": push.tag or "main",
            "GITHUB_REPOSITORY": "Team/Site",
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_ENV": f"{HOME}/temp/env",
            "GITHUB_OUTPUT": f"{HOME}/temp/output",
            "GITHUB_STEP_SUMMARY": f"{HOME}/temp/summary",
            "RUNNER_TEMP": f"{HOME}/temp",
        }
        environment |= known(document.get("env", {})) | known(definition.get("env", {}))
        # The real ones would be pulled.
        environment |= {"SBOM_GENERATOR": "sbom", "SCANNER": "scanner", "SIGNER": "signer", "COSIGN_PASSWORD": ""}
        if "id-token" in (definition.get("permissions") or {}):
            environment |= {f"ACTIONS_ID_TOKEN_REQUEST_{name}": "given" for name in ("TOKEN", "URL")}
        assert document["defaults"] == {"run": {"shell": "bash"}}
        said = []
        for step in definition["steps"]:
            if "uses" in step:
                assert step["uses"].startswith("actions/checkout@")
                assert step["with"]["persist-credentials"] is False
                self.sh(f"git clone --quiet origin work && cd work && git checkout --quiet {push.sha}")
                continue
            name = step.get("name", step["run"])
            wanted = name == fails
            written = dict(line.split("=", 1) for line in self.sh("cat temp/output").splitlines())
            variables = environment | self.known(push, variant, written)(step.get("env", {}))
            said.append(self.sh(step["run"], "-o", "pipefail", at=f"{HOME}/work", fails=wanted, **variables))
            if wanted:  # GitHub uses a new machine for each job
                self.sh(f"docker compose --project-name {self.project.slug} down --volumes --timeout 1")
                return said[-1]
            lines = self.sh("cat temp/env").splitlines()
            environment |= dict(line.split("=", 1) for line in lines)
        assert not fails, f"there is no step {fails!r}"
        written = dict(line.split("=", 1) for line in self.sh("cat temp/output").splitlines())
        push.outputs.setdefault(job, {}).update(written)
        return "\n".join([*said, self.sh("cat temp/summary")])

    def known(
        self, push: Push, variant: dict[str, str], written: dict[str, str]
    ) -> Callable[[dict[str, str]], dict[str, str]]:
        """Return a function that fills in GitHub's expressions, given what a job's steps have `written` so far.

        KeyError for an unknown expression.
        """
        values = {
            "vars.IMAGE || format('ghcr.io/{0}', github.repository)": IMAGE.replace("team/site", "Team/Site"),
            "vars.REGISTRY_USER || github.actor": "team",
            "secrets.INDEX_URL": "",
            "vars.CA_CERT": "",
            "vars.IMAGE == '' && github.token || secrets.REGISTRY_TOKEN": "a token",
            "vars.DEPLOY_TO": f"deploy@production.example:{PRODUCTION}",
            "vars.DEPLOY_HOST_KEYS": "production.example ssh-ed25519 AAAA",
            "secrets.DEPLOY_KEY": "the deploy key",
            "vars.SIGN || !github.event.repository.private": "true",
            "steps.name.outputs.version": written.get("version", ""),
            "matrix.arch": variant.get("arch", ""),
            "needs.image.outputs.amd64": push.outputs.get("image", {}).get("amd64", ""),
            "needs.image.outputs.arm64": push.outputs.get("image", {}).get("arm64", ""),
            "needs.publish.outputs.version": push.outputs.get("publish", {}).get("version", ""),
        }
        return lambda texts: {
            name: re.sub(r"\$\{\{ (.+?) \}\}", lambda found: values[found[1]], text) for name, text in texts.items()
        }

    def publish(self, push: Push, *archs: str) -> None:
        """Run the jobs between check and deploy; without an arm64 image, another one takes its place."""
        push.said = "\n".join(self.job(push, "image", arch=arch) for arch in archs)
        push.outputs["image"].setdefault("arm64", push.outputs["image"][archs[-1]])
        push.said += self.job(push, "publish")

    def tags(self) -> set[str]:
        """Return the tags in the registry."""
        answer = json.loads(self.sh(f"curl --silent http://{REGISTRY}/v2/team/site/tags/list"))
        return set(answer.get("tags") or [])

    def digest(self, tag: str) -> str:
        """Return the digest of a tag in the registry."""
        inspect = f"docker buildx imagetools inspect --format '{{{{ json .Manifest }}}}' {IMAGE}:{tag}"
        return str(json.loads(self.sh(inspect))["digest"])


@pytest.fixture(scope="module")
def runner(copie_session: Copie, engine: Engine) -> Iterator[Runner]:
    """A runner for a project with PostgreSQL and Celery that has not been pushed yet."""
    answers = {**matrix.pick(database="postgres", use_celery=True).answers, "deploy": "compose"}
    project = make_project(copie_session, engine, Combination("slipway-publish", answers))
    made = Runner(project)
    try:
        made.start()
        yield made
    finally:
        made.remove()
        clean_up(project)


@pytest.fixture(scope="module")
def first(runner: Runner) -> Push:
    """The first commit, pushed and published."""
    push = runner.push("Begin")
    runner.publish(push, "amd64", "arm64")
    return push


@pytest.fixture(scope="module")
def second(runner: Runner, first: Push) -> Push:
    """The next commit, published by a machine with an empty build cache."""
    runner.sh("docker builder prune --all --force")
    runner.project.edit("templates/home.html", "Welcome.", "Welcome to the next version.")
    push = runner.push("Greet")
    runner.publish(push, "amd64")
    return push


def test_only_run_steps_and_the_checkout(runner: Runner) -> None:
    """The runner here cannot run other actions: they would be untested."""
    for name in ("ci.yml", "publish.yml"):
        for job in workflow(runner.project.path, name)["jobs"].values():
            steps = job["steps"]
            assert all("run" in step or "checkout" in step["uses"] for step in steps)
            assert not any({"if", "continue-on-error"} & step.keys() for step in steps), (
                "a failed step must end its job"
            )
            assert "timeout-minutes" in job
        text = (runner.project.path / ".github" / "workflows" / name).read_text(encoding="utf-8")
        for used, comment in re.findall(r"uses: ([^.\s]\S*)(.*)", text):
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", used)
            assert re.fullmatch(r" # v[\d.]+", comment)


def test_no_job_may_more_than_it_does(runner: Runner) -> None:
    document = workflow(runner.project.path, "publish.yml")
    assert document["permissions"] == {}
    assert {name: job.get("permissions") for name, job in document["jobs"].items()} == {
        "check": {"contents": "read"},
        "image": {"contents": "read", "packages": "write"},
        "publish": {"id-token": "write", "packages": "write"},
        "deploy": None,  # inherits the workflow's empty permissions
    }
    assert [job.get("needs") for job in document["jobs"].values()] == [None, "check", "image", "publish"]
    pinned = r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}"
    for tool in ("SBOM_GENERATOR", "SIGNER"):
        assert re.fullmatch(pinned, document["env"][tool])
    assert re.search(f"SCANNER:={pinned}}}", (runner.project.path / "scripts" / "audit.sh").read_text(encoding="utf-8"))


def test_a_docker_that_keeps_no_attestations_is_refused(runner: Runner) -> None:
    """The suite's own engine has the other store; one that has this store passes."""
    steps = {step.get("name"): step for step in workflow(runner.project.path, "publish.yml")["jobs"]["image"]["steps"]}
    check = steps["Check for the containerd image store"]["run"]
    names = [*steps]
    assert names.index("Check for the containerd image store") < names.index("Build")
    store = runner.project.docker("info", "--format", "{{.DriverStatus}}")
    said = runner.project.run("bash", "-e", "-c", check, fails="io.containerd" not in store)
    assert "io.containerd" in said or "::error::Docker lacks the containerd image store: add" in said


def test_it_is_checked_in_its_image(runner: Runner, record: Any) -> None:
    """On the shared engine, which has most of the layers: this job needs no special Docker."""
    record("elsewhere", "\n".join(ELSEWHERE))
    steps = workflow(runner.project.path, "publish.yml")["jobs"]["check"]["steps"]
    assert workflow(runner.project.path, "ci.yml")["jobs"]["check"]["steps"] == [*steps, {"run": "make build"}]
    said = "".join(runner.project.run("bash", "-e", "-c", step["run"]) for step in steps if "run" in step)
    assert re.search(r"\d+ passed", said)
    assert "Success: no issues found" in said


def test_a_commit_gets_its_name_when_all_is_well(runner: Runner, first: Push) -> None:
    assert first.version in runner.tags()
    assert first.outputs["publish"]["version"] == f"{first.version}@{runner.digest(first.version)}"
    inspect = f"docker buildx imagetools inspect --raw {IMAGE}:{first.version}"
    published = {each["digest"] for each in json.loads(runner.sh(inspect))["manifests"]}
    for tested in first.outputs["image"].values():
        index = json.loads(runner.sh(f"docker buildx imagetools inspect --raw {tested}"))
        assert {each["digest"] for each in index["manifests"]} <= published


def test_it_says_what_is_in_it_and_how_it_was_made(runner: Runner, first: Push) -> None:
    tested = first.outputs["image"]["amd64"]
    inspect = "docker buildx imagetools inspect --format '{{ json %s }}' " + tested
    sbom = json.loads(runner.sh(inspect % ".SBOM.SPDX"))
    assert any(package["name"].startswith("django-6") for package in sbom["packages"])
    assert first.sha in runner.sh(inspect % ".Provenance")
    labels = json.loads(runner.sh(f"docker pull --quiet {tested} > /dev/null; docker image inspect {tested}"))
    labels = labels[0]["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == first.version
    assert labels["org.opencontainers.image.revision"] == first.sha
    assert labels["org.opencontainers.image.source"] == "https://github.com/Team/Site"


def test_another_machine_builds_from_the_cache(runner: Runner, second: Push) -> None:
    [install] = re.findall(r"^(#\d+) \[build \d+/\d+\] RUN .*uv venv", second.said, re.MULTILINE)
    assert f"{install} CACHED" in second.said
    assert second.version in runner.tags()


def test_a_name_stays_with_what_it_was_given_to(runner: Runner, first: Push, second: Push) -> None:
    before = runner.digest(first.version)
    # A second build of the same commit has another digest; here, `second`'s image stands for it.
    tagged = Push(first.sha, "v1.0.0", outputs={"image": second.outputs["image"]})
    assert "Another run has published this commit" in runner.job(tagged, "publish"), "it signed what it has not tested"
    assert runner.digest(first.version) == before, "the tag of a commit was moved"
    assert runner.digest("v1.0.0") == before
    moved = Push(second.sha, "v1.0.0", outputs={"image": second.outputs["image"]})
    said = runner.job(moved, "publish", fails="Tag the tested images")
    assert "v1.0.0 is already published from another commit" in said
    assert runner.digest("v1.0.0") == before


def test_what_does_not_serve_is_not_published(runner: Runner, second: Push) -> None:
    runner.project.edit("config/views.py", "    return render(", '    raise RuntimeError("broken")\n    return render(')
    push = runner.push("Break")
    before = runner.digest("candidate-amd64")
    said = runner.job(push, "image", fails="Start it with its database and request pages", arch="amd64")
    assert "RuntimeError: broken" in said
    assert runner.digest("candidate-amd64") == before


def test_what_can_be_exploited_is_not_published(runner: Runner, first: Push) -> None:
    """The scan comes before the push, in a job that all later ones need."""
    steps = {step.get("name"): step for step in workflow(runner.project.path, "publish.yml")["jobs"]["image"]["steps"]}
    assert [*steps][-2:] == ["Scan", "Push"]
    built = first.outputs["image"]["amd64"]
    clone = "rm -rf checkout && git clone --quiet origin checkout && echo CVE-2026-0001 > checkout/vulnerable"
    runner.sh(f"docker pull --quiet {built} && {clone}")
    variables = {"BUILT": built, "SCANNER": "scanner", "RUNNER_TEMP": HOME}
    said = runner.sh(steps["Scan"]["run"], at=f"{HOME}/checkout", fails=True, **variables)
    assert "CVE-2026-0001  high" in said


def test_the_audit_lists_the_licences_of_what_the_image_holds(first: Push) -> None:
    """Offline: Python's packages say their own, Debian's have a file, which the stand-in for Python's image lacks."""
    assert re.search(r"(?m)^python  Django 6\.\S+: BSD-3-Clause$", first.said)
    assert re.search(r"(?m)^python  granian \S+: BSD License$", first.said)
    assert re.search(r"(?m)^python  pip \S+: MIT$", first.said)
    assert re.search(r"(?m)^debian  libc6 \S+: (\S.*|see /usr/share/doc/libc6/copyright)$", first.said)
    assert ": unknown" not in first.said
    assert re.search(r"(?m)^\d+ layers, \d+ bytes$", first.said), "it was not scanned"


def test_it_is_deployed_by_its_digest_and_rolled_back_by_its_name(runner: Runner, first: Push, second: Push) -> None:
    """On a host that builds nothing: its images come from the registry."""

    def forget(push: Push) -> None:
        runner.sh(
            f"docker image rm --force $(docker image ls --quiet {IMAGE} | sort -u) || true"
        )  # keeps the running one
        runner.sh(f"docker image inspect {IMAGE}:{push.version}", fails=True)
        runner.sh(f"docker image inspect {IMAGE}@{runner.digest(push.version)}", fails=True)

    def serves(version: str) -> bool:
        web = "$(docker ps --quiet --filter label=com.docker.compose.service=web)"
        image = runner.sh(f"docker inspect --format '{{{{ .Config.Image }}}}' {web}").strip()
        return image == f"{IMAGE}:{version}"

    page = "curl --silent --insecure --fail https://localhost:8443/"
    verify = f"'COSIGN_VERIFY=--key={HOME}/cosign.pub --insecure-ignore-tlog'"
    settings = f"SITE_HOST=localhost IMAGE={IMAGE} HTTP_PORT=8080 HTTPS_PORT=8443 {verify}"
    settings = f"printf '%s\n' {settings} > production.env"
    runner.sh(f"git clone --quiet origin {PRODUCTION} && git -C {PRODUCTION} reset --quiet --hard {first.sha}")
    forget(first)
    runner.sh(f"make secrets && {settings} && make deploy", at=PRODUCTION)
    assert serves(first.version)
    assert "the next version" not in runner.sh(page)

    other = (
        f"printf 'FROM {IMAGE}:{first.version}\nLABEL other=yes\n' | docker build --quiet --push --tag {IMAGE}:other -"
    )
    runner.sh(other)
    said = runner.sh("TAG=other make deploy", at=PRODUCTION, fails=True)
    assert f"{IMAGE}:other is not signed as COSIGN_VERIFY in production.env asks, and " in said
    assert "no signatures found" in said
    assert serves(first.version)

    forget(second)
    digest = second.outputs["publish"]["version"]
    assert f"{digest} is up" in runner.job(second, "deploy")
    assert serves(digest)
    assert "the next version" in runner.sh(page)
    assert runner.sh("git rev-parse HEAD", at=PRODUCTION).strip() == second.sha

    forget(first)
    runner.sh(f"make rollback TAG={first.version}", at=PRODUCTION)
    assert serves(first.version)
    assert "the next version" not in runner.sh(page)
    said = runner.sh("make rollback TAG=v9.9.9", at=PRODUCTION, fails=True)
    assert f"{IMAGE}:v9.9.9 cannot be pulled" in said
    assert serves(first.version)
    releases = runner.sh("cut -d ' ' -f 2 data/releases", at=PRODUCTION).split()
    assert releases == [first.version, digest, first.version]
