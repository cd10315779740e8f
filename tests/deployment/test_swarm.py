"""A Swarm on this machine: deploys without a failed request; broken versions never take over."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import yaml
from pytest_copie.plugin import Copie

from tests.engine import Engine, ensure_image
from tests.engine.engine import locked
from tests.support import matrix, rendered
from tests.support.matrix import Combination
from tests.support.production import READYZ, Load, Production, add_ledger, any_certificate
from tests.support.project import Project, clean_up, free_port, make_project, until
from tests.support.roles import owns_its_database_alone
from tests.support.servers import run_name
from tests.support.swarm import join_swarm, swarm_state

pytestmark = pytest.mark.rotates(
    seconds=300,
    touched_by=[
        *("*stack.yaml*", "hooks/deploy/swarm.sh", "*Caddyfile*", "hooks/production/database.yaml"),
        *("tests/support/swarm.py", "tests/support/production.py"),
    ],
)

# Keys that `docker stack deploy` ignores silently, or rejects.
UNSUPPORTED = {
    *("build", "cgroup_parent", "container_name", "depends_on", "devices", "domainname", "external_links", "ipc"),
    *("links", "mac_address", "network_mode", "pid", "privileged", "profiles", "restart", "security_opt", "shm_size"),
    *("tmpfs", "userns_mode"),
}
STACKS: dict[str, dict[str, str | bool]] = {
    "postgres": {"database": "postgres", "use_celery": True},
    "mariadb": {"database": "mariadb", "use_drf": False, "multi_stage": False},
}


class Swarm(Production):
    """A project that is deployed on a Swarm of this machine alone."""

    def tasks(self, service: str = "web") -> list[str]:
        """Return a service's running containers, except those that are stopping."""
        of = f"label=com.docker.swarm.service.name={self.project.slug}_{service}"
        columns = '{{.ID}} {{.Label "com.docker.swarm.task.id"}}'
        listed = self.project.docker("ps", "--filter", of, "--format", columns).splitlines()
        state = ("inspect", "--format", "{{.DesiredState}}")
        return [
            container
            for container, task in map(str.split, listed)
            if self.project.docker(*state, task).strip() == "running"
        ]

    def python(self, code: str) -> str:
        """Run Python with Django loaded in a web container, and return what it prints."""
        return self.project.docker("exec", self.tasks()[0], "python", "manage.py", "shell", "--no-imports", "-c", code)

    def parts(self) -> list[list[str]]:
        """Return the ids of the engine's objects with the site's name."""
        kinds = [(kind, "--filter", f"name={self.project.slug}") for kind in ("service", "volume", "secret", "config")]
        kinds.append(("image", self.project.slug, "--all"))
        return [sorted(self.project.docker(kind, "ls", "--quiet", *of).split()) for kind, *of in kinds]

    def version(self) -> str:
        """Return the version that all of the site's services run."""
        image = "{{.Spec.TaskTemplate.ContainerSpec.Image}}"
        celery = ["worker", "beat"] if self.project.combination.answers["use_celery"] else []
        services = [f"{self.project.slug}_{name}" for name in ("web", *celery)]
        [found] = set(self.project.docker("service", "inspect", "--format", image, *services).split())
        return found.rpartition(":")[2]

    def deploy(self, message: str) -> str:
        """Commit everything, deploy it, and return its version."""
        version = self.project.commit(message)
        assert self.make("deploy").splitlines()[-1].startswith(f"{version} is up at https://localhost:")
        assert self.version() == version
        return version


@dataclass
class Steady(Load):
    """Four clients that write and read in turn, each over a persistent connection like a browser's."""

    size: int = 100
    wanted: int = 24  #: requests per second of all clients together

    def __enter__(self) -> Steady:
        self.start = time.monotonic()
        super().__enter__()
        return self

    @property
    def rate(self) -> float:
        """Requests per second so far."""
        return len(self.answers) / (time.monotonic() - self.start)

    def goes_on(self) -> None:
        """Wait for 20 more responses, five per client on average."""
        before = len(self.answers)
        until(lambda: len(self.answers) - before >= 20, 30)

    @property
    def failed(self) -> list[int]:
        """The statuses of the failed requests; 0 means no response."""
        return [status for status, _ in self.answers if status not in {200, 201}]

    def _write(self, client: int) -> None:
        context = any_certificate()
        connection = http.client.HTTPSConnection("localhost", self.site.https_port, timeout=30, context=context)
        number = self.first + client
        first = time.monotonic()
        while not self._stop.wait(max(0, first + (number - self.first) / self.wanted - time.monotonic())):
            start = time.monotonic()
            write = (number - self.first) // 4 % 2 == 0
            try:
                connection.request(
                    "POST" if write else "GET", f"/ledger/{number}/?size={self.size}" if write else "/ledger/"
                )
                answer = connection.getresponse()
                answer.read()
                status = answer.status
            except (OSError, http.client.HTTPException):
                connection.close()
                status = 0
            self.answers.append((status, time.monotonic() - start))
            if status == 201:
                self.acknowledged.add(number)
            number += 4
        connection.close()


def remove(project: Project) -> None:
    """Remove the project's stack under either of its names, and everything that belongs to it."""
    for slug in (project.slug, f"too-{project.slug}"):
        project.run("sh", "-c", f"docker stack rm --detach=false {slug} || true")
        for what, chosen in (
            ("container", f"--all --filter label=com.docker.stack.namespace={slug}"),
            ("volume", f"--filter name={slug}_"),
            ("secret", f"--filter label=site={slug}"),
            ("config", f"--filter label=site={slug}"),
            ("image", slug),
        ):
            remove_each = f"xargs --no-run-if-empty docker {what} rm" + " --force" * (what not in {"secret", "config"})
            project.run("sh", "-c", f"docker {what} ls --quiet {chosen} | {remove_each} || true")


@pytest.fixture(scope="module", params=STACKS)
def site(request: pytest.FixtureRequest, copie_session: Copie, engine: Engine) -> Iterator[Swarm]:
    """A project with an app that stores rows, committed and not yet deployed."""
    ensure_image(engine, "caddy:2")
    answers = {**matrix.pick(**STACKS[request.param]).answers, "deploy": "swarm"}
    project = make_project(copie_session, engine, Combination(f"slipway-swarm-{request.param}", answers))
    remove(project)  # leftovers of a killed run
    add_ledger(project)
    with locked("swarm"):  # an engine is in one Swarm at a time
        yield Swarm(project, free_port(), free_port())
        remove(project)
    clean_up(project)


def test_nothing_in_the_stack_is_ignored(site: Swarm) -> None:
    stack = yaml.safe_load((site.project.path / "deploy" / "stack.yaml").read_text(encoding="utf-8"))
    assert "name" not in stack
    for name, service in stack["services"].items():
        assert not UNSUPPORTED & set(service), name
        assert service["deploy"]["endpoint_mode"] == "dnsrr", name
        assert service["deploy"]["resources"]["limits"]["memory"], name


def test_its_files_are_clean(site: Swarm) -> None:
    for check in (
        rendered.nothing_is_left_unrendered,
        rendered.white_space_is_clean,
        rendered.every_variable_is_listed,
        rendered.no_trace_of_what_was_not_chosen,
        rendered.yaml_is_clean,
        rendered.the_makefile_lists_its_targets,
        rendered.a_worker_has_its_logs,
    ):
        check(site.project)


def test_it_says_what_is_missing(site: Swarm, pytestconfig: pytest.Config) -> None:
    if swarm_state(site.project.engine) != "active":
        assert site.make("deploy", fails=True).startswith("This host is not a Swarm manager: run docker swarm init")
        join_swarm(site.project.engine, run_name(pytestconfig))
    assert site.make("deploy", fails=True).startswith("secrets/secret_key is missing or empty: run make secrets")
    site.make("secrets")
    assert site.make("deploy", fails=True).startswith("SITE_HOST is missing: add SITE_HOST=")
    settings = f"SITE_HOST=localhost\nHTTP_PORT={site.http_port}\nHTTPS_PORT={site.https_port}\n"
    (site.project.path / "production.env").write_text(settings, encoding="utf-8")


def test_it_is_deployed_with_one_command(site: Swarm) -> None:
    said = site.make("deploy")
    assert said.splitlines()[-1].endswith(f"is up at https://localhost:{site.https_port}")
    assert "ignoring" not in said.lower()
    until(lambda: site.status("/") == 200, 30)
    assert site.project.docker("exec", site.tasks()[0], "python", "-c", READYZ).strip() == "200"
    assert site.status("/readyz") == 404, "the world can ask how the database is"
    assert len(site.tasks()) == 2


def test_every_container_is_hardened(site: Swarm) -> None:
    secrets = [file.read_text(encoding="utf-8").strip() for file in (site.project.path / "secrets").iterdir()]
    for service in (
        "caddy",
        "media",
        "web",
        "database",
        *(["worker", "beat", "redis"] if site.tasks("worker") else []),
    ):
        for container in site.tasks(service):
            text = site.project.docker("inspect", container)
            host = json.loads(text)[0]["HostConfig"]
            assert host["ReadonlyRootfs"], service
            assert host["CapDrop"] == ["ALL"], service
            assert host["Memory"] > 0, service
            assert not any(secret in text for secret in secrets), f"{service} shows a secret"
            status = site.project.docker("exec", container, "cat", "/proc/1/status")
            assert "Uid:\t0\t" not in status or service in {"caddy", "media"}, service


def test_the_application_owns_its_database_alone(site: Swarm) -> None:
    if site.project.database == "postgres":
        owns_its_database_alone(site, "postgres")


def test_another_name_or_database_is_refused(site: Swarm) -> None:
    project = site.project
    name, server = f"{project.slug}_{project.database}", matrix.images(project.combination)[1]
    label = project.docker("volume", "inspect", "--format", "{{.Labels.server}}", name).strip()
    assert server.startswith(label.replace(" ", ":"))
    for file, old, new, why in (
        ("scripts/deploy.sh", "STACK=slipway", "STACK=too-slipway", f"This site is deployed as {project.slug}, but "),
        ("deploy/stack.yaml", server, "oracle:26.1", f"The volume {name} was written by {label}, and oracle 26"),
    ):
        project.edit(file, old, new)
        project.commit("Change it")
        before = site.parts()
        said = site.make("deploy", fails=True)
        project.run("git", "reset", "--quiet", "--hard", "HEAD^")
        assert said.startswith(why)
        assert site.parts() == before


def test_a_new_version_takes_over_without_a_failed_request(site: Swarm) -> None:
    before = site.version()
    site.project.edit("templates/home.html", "Welcome.", "Second version.")
    with Steady(site, 1_000_000, wanted=80) as load:
        until(lambda: len(load.acknowledged) > 50, 10)
        assert site.deploy("Second") != before
        load.goes_on()
        print(f"{load.rate:.0f} requests a second")
        assert load.rate > 50
    assert load.failed == []
    assert load.acknowledged <= site.numbers()
    assert b"Second version." in site.ask("/")[2]


BROKEN = {
    "crash": ("ops/serve.py", "if __name__", "import nothing_of_that_name\n\nif __name__"),
    "unhealthy": ("ops/front.py", '"/livez"', '"/nowhere"'),
    "migration": ("ledger/migrations/0001_initial.py", "operations = [", "operations = [1 / 0,"),
    "stack": ("deploy/stack.yaml", "  caddy:\n", "  caddy:\n    nothing_of_that_name: 1\n"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_version_never_takes_over(site: Swarm, broken: str) -> None:
    before = site.version()
    name, old, new = BROKEN[broken]
    site.project.edit(name, old, new)
    version = site.project.commit(f"Break it: {broken}")
    with Steady(site, 2_000_000 + 100_000 * list(BROKEN).index(broken)) as load:
        said = site.make("deploy", fails=True)
    site.project.edit(name, new, old)
    site.project.commit("Mend it")
    reason, sentence = {
        "crash": ("nothing_of_that_name", f"{version} does not become healthy, and {before} stays up"),
        "unhealthy": (
            "web: its health check does not pass",
            f"{version} does not become healthy, and {before} stays up",
        ),
        "migration": ("division by zero", f"The migrations of {version} failed, and {before} stays up"),
        "stack": ("nothing_of_that_name", f"{version} cannot be deployed, and {before} stays up"),
    }[broken]
    assert reason in said
    assert sentence in said.splitlines()
    assert site.version() == before
    assert load.failed == []
    assert load.acknowledged <= site.numbers()


def test_an_earlier_version_comes_back_by_its_tag(site: Swarm) -> None:
    first = site.version()
    site.project.edit("templates/home.html", "Second version.", "Third version.")
    site.deploy("Third")
    site.make("rollback", f"TAG={first}")
    assert site.version() == first
    assert b"Second version." in site.ask("/")[2]


def test_a_replica_that_is_killed_is_replaced(site: Swarm) -> None:
    with Steady(site, 3_000_000) as load:
        load.goes_on()
        site.project.docker("kill", site.tasks()[0])
        until(lambda: len(site.tasks()) == 2, 60)
        load.goes_on()
    # Only the requests that it was handling fail: at most one per client.
    assert len(load.failed) <= 4
    assert load.acknowledged <= site.numbers()


def test_it_is_scaled_without_a_failed_request(site: Swarm) -> None:
    with Steady(site, 4_000_000) as load:
        for replicas in (1, 4, 2):
            site.project.docker("service", "scale", "--detach=false", f"{site.project.slug}_web={replicas}")
            load.goes_on()
    assert load.failed == []
    assert load.acknowledged <= site.numbers()


def test_a_secret_is_exchanged_without_a_failed_request(site: Swarm) -> None:
    (site.project.path / "secrets" / "secret_key").unlink()
    site.make("secrets")
    with Steady(site, 5_000_000) as load:
        site.make("deploy")
    assert load.failed == []
    listed = site.project.docker("secret", "ls", "--format", "{{.Name}}")
    assert listed.count("_secret_key_") == 1, "the old secret was not removed"


def test_the_readmes_backup_comes_back(site: Swarm) -> None:
    readme = (site.project.path / "README.md").read_text(encoding="utf-8")
    dump, restore, uploads = readme.partition("A backup, and")[2].split("```sh\n")[1].split("```")[0].splitlines()
    before = site.numbers()
    site.python("from pathlib import Path; Path('/data/media').mkdir(exist_ok=True); Path('/data/media/a').touch()")
    site.project.run("sh", "-ec", dump)
    site.project.run("sh", "-ec", uploads)
    site.python("from ledger.models import Entry; Entry.objects.all().delete()")
    assert site.numbers() == set()
    site.project.run("sh", "-ec", restore)
    assert site.numbers() == before
    packed = site.project.run("tar", "--list", "--file", f"../{site.project.slug}-uploads.tar.gz")
    assert "data/media/a" in packed.splitlines()


# A database server outside the Swarm: its port, its variables and its health check.
ELSEWHERE: dict[str, tuple[int, list[str], str]] = {
    "postgres": (
        5432,
        ["POSTGRES_USER=app", "POSTGRES_PASSWORD=elsewhere"],
        "pg_isready --host 127.0.0.1 --username app",
    ),
    "mariadb": (
        3306,
        ["MARIADB_USER=app", "MARIADB_PASSWORD=elsewhere", "MARIADB_DATABASE=app", "MARIADB_RANDOM_ROOT_PASSWORD=1"],
        "mariadb --host=127.0.0.1 --user=app --password=elsewhere --execute='SELECT 1'",
    ),
}


def test_the_database_can_be_elsewhere(site: Swarm) -> None:
    project = site.project
    port, variables, check = ELSEWHERE[project.database]
    host = project.docker("network", "inspect", "docker_gwbridge", "--format", "{{(index .IPAM.Config 0).Gateway}}")
    published = f"{host.strip()}:{free_port()}"
    name = f"{project.slug}-elsewhere"
    project.docker(
        *("run", "--detach", "--name", name, "--publish", f"{published}:{port}"),
        *(word for variable in variables for word in ("--env", variable)),
        *("--health-cmd", check, "--health-start-interval", "500ms", "--health-start-period", "60s"),
        matrix.images(project.combination)[1],
    )
    try:
        project.wait_healthy(name)
        url = project.path / "secrets" / "database_url"
        url.write_text(f"{project.database}://app:elsewhere@{published}/app\n".replace("mariadb:", "mysql:"))
        site.make("deploy")
        until(lambda: site.tasks("database") == [], 30)
        assert site.numbers() == set(), "the site still uses the old database"
        with Steady(site, 6_000_000) as load:
            load.goes_on()
        assert load.failed == []
        assert load.acknowledged == site.numbers()
    finally:
        project.docker("rm", "--force", "--volumes", name)
