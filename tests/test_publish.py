"""From a push to production: each step of the generated workflows, run as a runner of GitHub's does.

The runner has a Docker of its own, for the workflow needs images that are kept in containerd, as its real one does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from pytest_copie.plugin import Copie

from tests import matrix
from tests.conftest import make_project
from tests.engine import Engine, ensure_image
from tests.matrix import ROOT, Combination
from tests.project import Project

RUNNER = ROOT / "tests" / "runner"
REGISTRY = "localhost:5000"
IMAGE = f"{REGISTRY}/team/site"
HOME = "/home/runner"
PRODUCTION = f"{HOME}/production"

# What takes GitHub, or the world: the report says so.
ELSEWHERE = (
    "The image for arm64 was built and started on this machine's processor: GitHub has one of its own for it.",
    "The SBOM and the scan came from stand-ins for Syft and Grype, whose images and database are not to be had here; "
    "they were called as those are, and told what was found.",
    "Images went to Debian's docker-registry, which asks for no password: GHCR, Docker Hub and the job's token, "
    "with its permissions, were not asked.",
    "The deployment's SSH led to the same machine; GitHub's environment, queue and `if:` decided nothing.",
)


@dataclass
class Push:
    """A commit that was pushed, as a branch or as a tag."""

    sha: str
    tag: str = ""
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The name that its image gets."""
        return self.sha[:12]


class Runner:
    """A machine that runs the jobs of workflows, one after the other."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.name = f"{project.slug}-runner"

    def start(self) -> None:
        """Start it, with the images that the world would give and the registry beside it."""
        names = [*matrix.images(self.project.combination), "caddy:2", "registry:2"]
        for name in names:
            ensure_image(self.project.engine, name)
        own = "slipway/debian:testing"  # which the engine's stand-ins are made from
        made = self.project.docker("image", "ls", "--quiet", own).strip()
        base = ["--build-arg", f"BASE={own}"] if made else []
        self.project.docker("build", "--quiet", "--tag", self.name, *base, str(RUNNER))
        self.project.docker("run", "--detach", "--privileged", "--init", "--name", self.name, self.name)
        self.sh("until docker version > /dev/null 2>&1; do sleep 0.2; done", user="root")
        self.project.run("sh", "-ec", f"docker save {' '.join(names)} | docker exec -i {self.name} docker load --quiet")
        self.sh("docker run --detach --name registry --publish 127.0.0.1:5000:5000 registry:2")
        self.sh("until curl --silent --fail http://localhost:5000/v2/; do sleep 0.2; done")
        python = names[0]
        for tool in ("sbom", "scanner"):
            script = (
                f"printf 'FROM {python}\\nCOPY {tool}.py /\\nENTRYPOINT [\"/{tool}.py\"]\\n'"
                f" | docker build --quiet --provenance false --tag {REGISTRY}/{tool} --file - /srv"
            )
            self.sh(f"{script} && docker push --quiet {REGISTRY}/{tool}")
        self.sh(f"git init --quiet --bare --initial-branch main {HOME}/origin")

    def sh(
        self, script: str, *options: str, at: str = HOME, user: str = "runner", fails: bool = False, **variables: str
    ) -> str:
        """Run a script of bash in it, and return what it printed."""
        environment = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
        where = ["--user", user, "--workdir", at]
        command = ["bash", "--noprofile", "--norc", "-e", *options, "-c", script]
        return self.project.docker("exec", *where, *environment, self.name, *command, fails=fails)

    def push(self, message: str, tag: str = "") -> Push:
        """Commit what the project has, push it to what stands for GitHub, and return that."""
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
        self.project.run("git", "add", "--all")
        self.project.run("git", *identity, "commit", "--quiet", "--allow-empty", "--message", message)
        sha = self.project.run("git", "rev-parse", "HEAD").strip()
        bundle = "git bundle create --quiet - main"
        receive = f"docker exec -i --user runner --workdir {HOME}/origin {self.name} sh -ec"
        fetch = "cat > ../bundle; git fetch --quiet ../bundle main:main"
        self.project.run("sh", "-ec", f'{bundle} | {receive} "{fetch}"')
        return Push(sha, tag)

    def job(self, push: Push, workflow: str, job: str, fails: str = "", **variant: str) -> str:
        """Run a job on a machine that was not used before, up to the step that `fails`; return what it printed."""
        document = yaml.safe_load((self.project.path / ".github/workflows" / workflow).read_text(encoding="utf-8"))
        definition = document["jobs"][job]
        self.sh(f"docker compose --project-name {self.project.slug} down --volumes --timeout 1")
        self.sh("rm -rf work temp && mkdir work temp && touch temp/env temp/output temp/summary")
        known = self.known(push, variant)
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
        # What only the world gives.
        environment |= {"SBOM_GENERATOR": f"{REGISTRY}/sbom", "SCANNER": f"{REGISTRY}/scanner"}
        shell = document.get("defaults", {}).get("run", {}).get("shell")
        options = ["-o", "pipefail"] if shell == "bash" else []
        said = []
        for step in definition["steps"]:
            if "uses" in step:
                assert step["uses"].startswith("actions/checkout@")
                assert step["with"]["persist-credentials"] is False
                self.sh(f"git clone --quiet origin work && cd work && git checkout --quiet {push.sha}")
                continue
            name = step.get("name", step["run"])
            wanted = name == fails
            variables = environment | known(step.get("env", {}))
            said.append(self.sh(step["run"], *options, at=f"{HOME}/work", fails=wanted, **variables))
            if wanted:
                return said[-1]
            lines = self.sh("cat temp/env").splitlines()
            environment |= dict(line.split("=", 1) for line in lines)
        assert not fails, f"there is no step {fails!r}"
        written = dict(line.split("=", 1) for line in self.sh("cat temp/output").splitlines())
        push.outputs.setdefault(job, {}).update(written)
        return "\n".join([*said, self.sh("cat temp/summary")])

    def known(self, push: Push, variant: dict[str, str]) -> Callable[[dict[str, str]], dict[str, str]]:
        """Return what fills in GitHub's expressions; KeyError at one that nobody has thought about."""
        values = {
            "vars.IMAGE || format('ghcr.io/{0}', github.repository)": IMAGE.replace("team/site", "Team/Site"),
            "vars.REGISTRY_USER || github.actor": "team",
            "vars.IMAGE == '' && github.token || secrets.REGISTRY_TOKEN": "a token",
            "vars.DEPLOY_TO": f"deploy@production.example:{PRODUCTION}",
            "vars.DEPLOY_HOST_KEYS": "production.example ssh-ed25519 AAAA",
            "secrets.DEPLOY_KEY": "the deploy key",
            "matrix.arch": variant.get("arch", ""),
            "needs.image.outputs.amd64": push.outputs.get("image", {}).get("amd64", ""),
            "needs.image.outputs.arm64": push.outputs.get("image", {}).get("arm64", ""),
            "needs.publish.outputs.version": push.outputs.get("publish", {}).get("version", ""),
        }
        return lambda texts: {
            name: re.sub(r"\$\{\{ (.+?) \}\}", lambda found: values[found[1]], text) for name, text in texts.items()
        }

    def publish(self, push: Push) -> str:
        """Run all that follows from a push but its deployment, the check apart; return what it printed."""
        said = [self.job(push, "publish.yml", "image", arch=arch) for arch in ("amd64", "arm64")]
        return "\n".join([*said, self.job(push, "publish.yml", "publish")])

    def tags(self) -> set[str]:
        """Return the names that the registry knows."""
        answer = json.loads(self.sh(f"curl --silent http://{REGISTRY}/v2/team/site/tags/list"))
        return set(answer.get("tags") or [])

    def digest(self, tag: str) -> str:
        """Return the digest that a name has in the registry."""
        inspect = f"docker buildx imagetools inspect --format '{{{{ json .Manifest }}}}' {IMAGE}:{tag}"
        return str(json.loads(self.sh(inspect))["digest"])


@pytest.fixture(scope="module")
def runner(copie_session: Copie, engine: Engine) -> Iterator[Runner]:
    """A runner, and a project with a database server and a queue that has not been pushed yet."""
    answers = {**matrix.pick(database="postgres", use_celery=True).answers, "deploy": "compose"}
    project = make_project(copie_session, engine, Combination("slipway-publish", answers))
    made = Runner(project)
    try:
        made.start()
        yield made
    finally:
        project.run("sh", "-c", f"docker rm --force --volumes {made.name}; docker image rm --force {made.name}")


@pytest.fixture(scope="module")
def first(runner: Runner) -> Push:
    """The first commit, pushed and published."""
    push = runner.push("Begin")
    runner.publish(push)
    return push


def test_only_run_steps_and_the_checkout(runner: Runner) -> None:
    """Whatever else a workflow used would be run by nobody before a user's push."""
    for name in ("ci.yml", "publish.yml"):
        text = (runner.project.path / ".github" / "workflows" / name).read_text(encoding="utf-8")
        for job in yaml.safe_load(text)["jobs"].values():
            assert all("run" in step or "checkout" in step["uses"] for step in job.get("steps", []))
            assert "timeout-minutes" in job or job["uses"] == "./.github/workflows/ci.yml"
        for used, comment in re.findall(r"uses: ([^.\s]\S*)(.*)", text):
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", used)
            assert re.fullmatch(r" # v[\d.]+", comment)
        for image in re.findall(r"^  (?:SBOM_GENERATOR|SCANNER): (\S+)", text, re.MULTILINE):
            assert re.fullmatch(r"[\w./-]+@sha256:[0-9a-f]{64}", image)
    jobs = yaml.safe_load(text)["jobs"]
    assert {name: job.get("permissions") for name, job in jobs.items()} == {
        "check": {"contents": "read"},
        "image": {"contents": "read", "packages": "write"},
        "publish": {"packages": "write"},
        "deploy": None,  # and so none, by the workflow's own
    }
    assert yaml.safe_load(text)["permissions"] == {}
    assert [jobs[name].get("needs") for name in jobs] == [None, "check", "image", "publish"]


def test_it_is_checked_in_its_image(runner: Runner, record: Any) -> None:
    for line in ELSEWHERE:
        record("elsewhere", line)
    push = runner.push("Check")
    said = runner.job(push, "ci.yml", "check")
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


def test_a_name_stays_with_what_it_was_given_to(runner: Runner, first: Push) -> None:
    before = runner.digest(first.version)
    tagged = Push(first.sha, "v1.0.0")
    runner.publish(tagged)
    assert runner.digest(first.version) == before, "a commit has one image"
    assert runner.digest("v1.0.0") == before
    moved = Push(runner.push("Next").sha, "v1.0.0")
    moved.outputs["image"] = dict.fromkeys(("amd64", "arm64"), first.outputs["image"]["amd64"])
    said = runner.job(moved, "publish.yml", "publish", fails="Name what was tested")
    assert "v1.0.0 is published already, from another commit" in said
    assert runner.digest("v1.0.0") == before


def refused(runner: Runner, step: str) -> str:
    """Push what the project has now, and return what a step says that refuses it; nothing gets a name."""
    push = runner.push("Break")
    before = {tag: runner.digest(tag) for tag in runner.tags() if not tag.startswith("cache-")}
    said = runner.job(push, "publish.yml", "image", fails=step, arch="amd64")
    assert {tag: runner.digest(tag) for tag in runner.tags() if not tag.startswith("cache-")} == before
    return said


def test_what_does_not_serve_is_not_published(runner: Runner, first: Push) -> None:
    runner.project.edit("config/views.py", "    return render(", '    raise RuntimeError("broken")\n    return render(')
    assert "broken" in refused(runner, "Start it with its database, and ask it")
    runner.project.edit("config/views.py", '    raise RuntimeError("broken")\n', "")


def test_what_can_be_exploited_is_not_published(runner: Runner, first: Push) -> None:
    vulnerable = runner.project.path / "vulnerable"
    vulnerable.write_text("django 6.1.3  CVE-2026-0001\n", encoding="utf-8")
    assert "CVE-2026-0001" in refused(runner, "Scan it")
    vulnerable.unlink()


def test_another_machine_builds_from_the_cache(runner: Runner, first: Push) -> None:
    runner.sh("docker builder prune --all --force")
    runner.project.edit("templates/home.html", "Welcome.", "Welcome to the next version.")
    push = runner.push("Greet")
    said = runner.job(push, "publish.yml", "image", arch="amd64")
    [install] = re.findall(r"^(#\d+) \[build \d+/\d+\] RUN .*uv venv", said, re.MULTILINE)
    assert f"{install} CACHED" in said
    runner.publish(push)
    assert push.version in runner.tags()


def test_it_is_deployed_by_its_digest_and_rolled_back_by_its_name(runner: Runner, first: Push) -> None:
    """On a host that has built nothing and has no image: what runs comes from the registry."""
    runner.sh(f"git clone --quiet origin {PRODUCTION} && cd {PRODUCTION} && git reset --quiet --hard {first.sha}")
    settings = f"printf '%s\\n' SITE_HOST=localhost IMAGE={IMAGE} HTTP_PORT=8080 HTTPS_PORT=8443 > production.env"
    runner.sh(f"make secrets && {settings}", at=PRODUCTION)
    site = "curl --silent --insecure --fail https://localhost:8443/"
    web = "$(docker ps --quiet --filter label=com.docker.compose.service=web)"
    runs = f"docker inspect --format '{{{{ .Config.Image }}}}' {web}"

    def forget(push: Push) -> None:
        runner.sh(f"docker image rm --force $(docker image ls --quiet {IMAGE} | sort -u) || true")
        runner.sh(f"docker image inspect {IMAGE}:{push.version}", fails=True)
        runner.sh(f"docker image inspect {IMAGE}@{runner.digest(push.version)}", fails=True)

    forget(first)
    said = runner.job(first, "publish.yml", "deploy")
    assert f"{first.outputs['publish']['version']} is up" in said
    assert runner.sh(runs).strip() == f"{IMAGE}:{first.outputs['publish']['version']}"
    assert "the next version" not in runner.sh(site)

    newest = Push(runner.sh("git -C origin rev-parse main").strip())
    forget(newest)
    runner.sh("git pull --quiet && make deploy", at=PRODUCTION)
    assert runner.sh(runs).strip() == f"{IMAGE}:{newest.version}"
    assert "the next version" in runner.sh(site)

    forget(first)
    runner.sh(f"make rollback TAG={first.version}", at=PRODUCTION)
    assert "the next version" not in runner.sh(site)
    said = runner.sh("make rollback TAG=v9.9.9", at=PRODUCTION, fails=True)
    assert f"{IMAGE}:v9.9.9 cannot be pulled" in said
    releases = runner.sh("cut -d ' ' -f 2 data/releases", at=PRODUCTION).split()
    assert releases == [first.outputs["publish"]["version"], newest.version, first.version]
