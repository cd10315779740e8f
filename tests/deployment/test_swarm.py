"""A Swarm on this machine: deploys without a failed request; broken versions never take over."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from pytest_copie.plugin import Copie

from tests.engine import Engine, ensure_image
from tests.engine.engine import locked
from tests.support import matrix, rendered
from tests.support.backups import rewrite
from tests.support.matrix import Combination
from tests.support.production import READYZ, Load, Production, add_ledger, any_certificate
from tests.support.project import PATIENCE, Project, clean_up, free_port, make_project, own_project, until
from tests.support.roles import owns_its_database_alone
from tests.support.servers import run_name
from tests.support.swarm import join_swarm, swarm_state

pytestmark = pytest.mark.rotates(
    seconds=740,
    touched_by=[
        *("*stack.yaml*", "*swarm*.sh*", "*Caddyfile*", "hooks/production/database.yaml", "hooks/backup/*"),
        *("*restic.sh*", "hooks/restore/*", "hooks/outside/*"),
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

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `make` in a process group of its own."""
        return subprocess.Popen(
            ["make", "--silent", *arguments],
            cwd=self.project.path,
            env=self.project.engine.env | self.project.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def state(self, service: str = "web") -> str:
        """Return the state of a service's last update, such as "updating", or ""."""
        state = "{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}"
        return self.project.docker("service", "inspect", "--format", state, f"{self.project.slug}_{service}").strip()

    def stacks(self) -> list[str]:
        """Return the names of the stacks in data/: what deploys go back to, and what one is working on."""
        return sorted(path.name for path in (self.project.path / "data").glob("*.yaml"))


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
        until(lambda: len(self.answers) - before >= 20)

    @property
    def failed(self) -> list[int]:
        """The statuses of the failed requests; 0 means no response."""
        return [status for status, _ in self.answers if status not in {200, 201}]

    def _write(self, client: int) -> None:
        context = any_certificate()
        connection = http.client.HTTPSConnection("localhost", self.site.https_port, timeout=60, context=context)
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
    for task in ("backup", "prod-shell"):
        assert site.make(task, fails=True).startswith("Nothing is deployed here yet: run make deploy first")


def test_what_is_in_the_way_is_said_first(site: Swarm) -> None:
    docker = site.project.docker
    [node] = docker("node", "ls", "--quiet").split()
    before = site.parts()
    docker("node", "update", "--availability", "drain", node)
    try:
        assert site.make("deploy", fails=True).startswith("No node of the Swarm is active: docker node ls shows ")
    finally:
        docker("node", "update", "--availability", "active", node)
    other = f"{site.project.slug}-other"
    docker("network", "create", "--driver", "overlay", "--subnet", "10.213.57.0/24", other)
    try:
        said = site.make("deploy", fails=True)
        assert said.startswith(f"The subnet 10.213.57.0/24 belongs to the network {other}: set FRONTEND_SUBNET")
    finally:
        docker("network", "rm", other)
    with socket.create_server(("127.0.0.1", site.https_port)):
        said = site.make("deploy", fails=True)
    assert said.startswith(f"Another program uses port {site.https_port}: stop it, or set HTTP_PORT and HTTPS_PORT")
    assert site.parts() == before


def test_it_is_deployed_with_one_command(site: Swarm) -> None:
    said = site.make("deploy")
    assert said.splitlines()[-1].endswith(f"is up at https://localhost:{site.https_port}")
    assert "ignoring" not in said.lower()
    until(lambda: site.status("/") == 200)
    assert site.project.docker("exec", site.tasks()[0], "python", "-c", READYZ).strip() == "200"
    assert site.status("/readyz") == 404, "the world can ask how the database is"
    assert len(site.tasks()) == 2
    assert site.stacks() == ["stack.yaml"]


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
        ("scripts/swarm.sh", "STACK=slipway", "STACK=too-slipway", f"This site is deployed as {project.slug}, but "),
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
    servers = [site.tasks(name) for name in ("database", "redis")]
    site.project.edit("templates/home.html", "Welcome.", "Second version.")
    with Steady(site, 1_000_000, wanted=80) as load:
        until(lambda: len(load.acknowledged) > 50)
        assert site.deploy("Second") != before
        load.goes_on()
        print(f"{load.rate:.0f} requests a second")
        assert len(load.answers) > 500
    assert load.failed == []
    assert load.acknowledged <= site.numbers()
    assert b"Second version." in site.ask("/")[2]
    assert [site.tasks(name) for name in ("database", "redis")] == servers, "the deploy has restarted them"


def test_a_deploy_never_moves_the_data(site: Swarm) -> None:
    placed = "{{.Spec.TaskTemplate.Placement.Constraints}}"
    node = site.project.docker("info", "--format", "{{.Swarm.NodeID}}").strip()
    for name in ("database", *(["redis"] if site.tasks("redis") else [])):
        found = site.project.docker("service", "inspect", "--format", placed, f"{site.project.slug}_{name}").strip()
        assert found == f"[node.id=={node}]"
    with site.production_env("DATA_NODE=node.hostname==elsewhere"):
        said = site.make("deploy", fails=True)
    assert said.startswith(f"The data is on the node with node.id=={node}, but DATA_NODE is now ")


BROKEN = {
    "crash": ("ops/serve.py", "if __name__", "import nothing_of_that_name\n\nif __name__"),
    "unhealthy": ("Dockerfile", "'/livez'", "'/nowhere'"),
    "page": ("templates/home.html", "{% ", "{% nothing_of_that_name %}{% "),
    "caddyfile": ("Caddyfile", "encode zstd gzip", "nothing_of_that_name"),
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
        "page": ("nothing_of_that_name", f"{version} fails to answer its home page, and {before} stays up"),
        "caddyfile": ("nothing_of_that_name", f"a setting in production.env, and {before} stays up: "),
        "stack": ("nothing_of_that_name", f"{version} cannot be deployed, and {before} stays up: see"),
    }[broken]
    assert reason in said
    assert sentence in said
    assert site.version() == before
    assert site.stacks() == ["stack.yaml"]
    assert load.failed == []
    assert load.acknowledged <= site.numbers()


def test_a_caddy_that_cannot_start_is_rolled_back(site: Swarm) -> None:
    before = site.version()
    with site.production_env("CADDY_MEMORY=6M"):
        said = site.make("deploy", fails=True)
    assert "\ncaddy: " in said
    assert f" does not become healthy, and {before} stays up\n" in said
    until(lambda: site.status("/") == 200)


def test_the_last_version_that_was_healthy_comes_back(site: Swarm) -> None:
    """A second broken version, deployed after the deploy of a first one was killed, makes way for neither."""
    before = site.version()
    site.project.edit("Dockerfile", "'/livez'", "'/nowhere'")
    site.project.commit("Break it: unhealthy")
    with Steady(site, 7_000_000) as load:
        deploy = site.start("deploy")
        until(lambda: site.state() == "updating")
        assert site.lines("deploy", fails=True) == ["make deploy is running: wait for it"]
        os.killpg(deploy.pid, signal.SIGKILL)
        deploy.communicate()
        assert site.stacks() == [".next.yaml", "stack.yaml"]
        site.project.edit("config/wsgi.py", '"""', 'raise SystemExit("a second fault")\n"""')
        version = site.project.commit("Break it twice")
        said = site.make("deploy", fails=True)
    site.project.run("git", "reset", "--quiet", "--hard", "HEAD~2")
    assert said.startswith(f"A deploy was killed: going back to {before} first")
    assert f"{version} does not become healthy, and {before} stays up" in said.splitlines()
    assert site.version() == before
    assert site.stacks() == ["stack.yaml"]
    assert load.failed == []
    assert load.acknowledged <= site.numbers()


def test_an_interrupted_deploy_goes_back(site: Swarm) -> None:
    before = site.version()
    site.project.edit("Dockerfile", "'/livez'", "'/nowhere'")
    site.project.commit("Break it: unhealthy")
    for reached in (lambda: (site.project.path / "data" / ".whole.yaml").exists(), lambda: site.state() == "updating"):
        deploy = site.start("deploy")
        until(reached, every=0.05)
        os.killpg(deploy.pid, signal.SIGINT)
        said, _ = deploy.communicate(timeout=PATIENCE)
        assert deploy.returncode
        assert f"Interrupted, and {before} stays up" in said.splitlines()
        assert site.version() == before
        assert site.status("/") == 200
    site.project.run("git", "reset", "--quiet", "--hard", "HEAD^")


SLOW = """
import time

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("ledger", "0001_initial")]
    operations = [migrations.RunPython(lambda *_: time.sleep(40))]
"""


def test_migrations_have_a_limit_and_the_next_deploy_waits_for_them(site: Swarm) -> None:
    before, job = site.version(), f"{site.project.slug}_migrate"
    (site.project.path / "ledger" / "migrations" / "0002_slow.py").write_text(SLOW, encoding="utf-8")
    version = site.project.commit("Migrate slowly")
    with site.production_env("DEPLOY_SECONDS=15"):
        said = site.make("deploy", fails=True)
    assert f"The migrations have not ended after 15 seconds, and {before} stays up: Running" in said
    assert f"The migrations go on in the service {job}, and the next make deploy waits for them" in said
    assert site.version() == before
    said = site.make("deploy")
    assert said.startswith("The migrations of a deploy that was killed still run: waiting for them")
    assert "No migrations to apply" in said
    assert site.version() == version


def test_production_has_commands_of_its_own(site: Swarm) -> None:
    name = f"{site.project.slug}_webhooks"
    running = f"{site.project.slug}:{site.version()}"
    options = ("--health-cmd", "true", "--no-resolve-image", "--detach=false", "--quiet")
    site.project.docker("service", "create", "--name", name, *options, running, "sleep", "600")
    try:
        assert "[X] 0001_initial" in site.make("prod-manage", "CMD=showmigrations ledger")
    finally:
        site.project.docker("service", "rm", name)
    assert f"{site.project.slug}_web" in site.make("prod-status")
    logs = site.start("prod-logs")
    assert logs.stdout
    assert f"{site.project.slug}_" in logs.stdout.readline()
    os.killpg(logs.pid, signal.SIGINT)
    logs.communicate(timeout=PATIENCE)
    numbers = site.numbers()
    site.make("prod-stop")
    until(lambda: site.tasks() == site.tasks("caddy") == [])
    assert site.status("/") == 0
    site.make("deploy")
    assert site.numbers() == numbers


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
        until(lambda: len(site.tasks()) == 2)
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


UPLOADS = "from pathlib import Path; folder = Path('/data/media/a'); "


def test_a_backup_comes_back(site: Swarm) -> None:
    numbers = site.numbers()
    assert numbers
    site.python(UPLOADS + "folder.mkdir(parents=True, exist_ok=True); (folder / 'kept.txt').write_text('Ærø 日本')")
    [name] = site.lines("backup")
    file = site.project.path / name
    assert file.stat().st_mode & 0o777 == 0o600
    wipe = "from ledger.models import Entry; Entry.objects.all().delete(); import shutil; shutil.rmtree(folder); "
    site.python(UPLOADS + wipe + "(folder.parent / 'later.txt').touch()")
    assert site.numbers() == set()
    said = site.lines("restore", f"FILE={name}")
    assert said[-1].startswith(f"{name} is restored, and {site.version()} is up")
    assert site.numbers() == numbers
    assert "Ærø 日本 False" in site.python(
        UPLOADS + "print((folder / 'kept.txt').read_text(), (folder.parent / 'later.txt').exists())"
    )
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert not (site.project.path / "data" / ".restored").exists()


def cut(members: dict[str, bytes]) -> None:
    """Cut a backup's dump in half."""
    members["database"] = members["database"][: len(members["database"]) // 2] + b"\nNONSENSE;\n"


def test_a_restore_that_fails_leaves_what_was_there(site: Swarm) -> None:
    [good] = (site.project.path / "backups").iterdir()
    bad = good.parent / "bad.tar"
    numbers = site.numbers()
    bad.write_bytes(good.read_bytes()[:-1])
    assert "is damaged, or was not written by make backup" in site.make("restore", "FILE=backups/bad.tar", fails=True)
    rewrite(good, bad, cut)
    site.make("restore", "FILE=backups/bad.tar", fails=True)
    assert site.numbers() == numbers
    assert "kept.txt" in site.python(UPLOADS + "print(list(folder.iterdir()))")
    until(lambda: site.status("/") == 200)
    assert not (site.project.path / "data" / ".restored").exists()


# Prints the number of rows, the number of uploads, and a digest of them all.
LOOK = """
import hashlib, json
from pathlib import Path
from ledger.models import Entry
rows = list(Entry.objects.order_by("number").values_list("number", "text"))
files = sorted(each for each in Path("/data/media").rglob("*") if each.is_file())
digest = hashlib.sha256(repr(rows).encode())
for each in files:
    digest.update(str(each).encode() + each.read_bytes())
print(json.dumps([len(rows), len(files), digest.hexdigest()]))
"""
ADD = """
import os
from pathlib import Path
from ledger.models import Entry
Entry.objects.bulk_create(Entry(number=9_000_000 + number, text="Ærø 日本") for number in range(300))
folder = Path("/data/media/many")
folder.mkdir(parents=True)
for number in range(40):
    (folder / f"{number}.bin").write_bytes(os.urandom(20_000))
"""


def test_a_backup_elsewhere_comes_back_in_another_stack(
    site: Swarm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From nothing but the clone, the repository and its password.

    The other stack is on the same host, so that it has another name; its secrets, volumes and network are its own.
    """
    if site.project.database != "postgres":
        pytest.skip("PostgreSQL's drill has it: what leaves the host is the same file")
    docker, engine = site.project.docker, site.project.engine
    script = (site.project.path / "scripts" / "restic.sh").read_text(encoding="utf-8")
    [image] = re.findall(r"restic/restic:[0-9.]+", script)
    ensure_image(engine, image)
    repository = tmp_path / "repository"
    repository.mkdir()
    site.python(ADD)
    before = json.loads(site.python(LOOK))
    took: dict[str, float] = {}

    def timed(of: Swarm, target: str, *arguments: str) -> str:
        start = time.monotonic()
        said = of.make(target, *arguments)
        took[" ".join(["make", target, *arguments])] = time.monotonic() - start
        return said

    def send_to(of: Swarm, **variables: str) -> None:
        lines = {"RESTIC_REPOSITORY": str(repository), "RESTIC_PASSWORD": "a long one: $HOME 'and' more"} | variables
        text = "".join(f"{name}={value}\n" for name, value in lines.items())
        (of.project.path / "backup.env").write_text(text, encoding="utf-8")

    send_to(site)
    assert "keep a copy of backup.env elsewhere" in timed(site, "backup")
    said = timed(site, "backups", "READ=100")
    assert said.splitlines()[-1] == "The repository is complete, and 100% of its data was read and is intact"
    assert len(re.findall(r"(?m)^[0-9a-f]{8}  2", said)) == 1

    # Git trusts the other user's folder.
    trusting = ["-c", "safe.directory=*", "clone", "--quiet", "--no-local"]
    trusting += ["--upload-pack", "git -c safe.directory=* upload-pack"]
    subprocess.run(["git", *trusting, site.project.path, tmp_path / "another"], check=True)
    combination = Combination(f"too-{site.project.slug}", site.project.combination.answers)
    other = Swarm(own_project(tmp_path / "another", combination, engine), free_port(), free_port())
    other.project.edit("scripts/swarm.sh", "STACK=slipway", "STACK=too-slipway")
    other.project.commit("Be another stack")
    other.configure(87, "WEB_REPLICAS=1")
    try:
        other.make("secrets")
        timed(other, "deploy")
        assert json.loads(other.python(LOOK))[:2] == [0, 0]
        away = repository.with_name("away")
        for variables, sentence in (
            ({"RESTIC_PASSWORD": "wrong"}, "RESTIC_PASSWORD is not the repository's"),
            ({"RESTIC_REPOSITORY": str(away)}, f"There is no folder {away}: create it, or mount its disk"),
        ):
            send_to(other, **variables)
            assert other.lines("restore", "FROM=latest", fails=True) == [sentence]
        away.mkdir()
        assert other.lines("restore", "FROM=latest", fails=True)[0].startswith("there is no repository at RESTIC_REPO")
        assert json.loads(other.python(LOOK))[:2] == [0, 0]
        send_to(other)
        said = timed(other, "restore", "FROM=latest")
        assert f" is restored, and {other.version()} is up; version {site.version()} made the backup" in said
        assert json.loads(other.python(LOOK)) == before == json.loads(site.python(LOOK))
        until(lambda: other.status("/") == 200)
    finally:
        remove(other.project)
    (site.project.path / "backup.env").unlink()
    assert docker("volume", "ls", "--quiet", "--filter", f"name=too-{site.project.slug}") == ""
    with capsys.disabled():
        print(
            f"\n| {site.project.slug} -> {other.project.slug}: {before[0]} rows, {before[1]} uploads | s |\n|---|---|"
        )
        for what, seconds in took.items():
            print(f"| {what} | {seconds:.1f} |")


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
        until(lambda: site.tasks("database") == [])
        assert site.numbers() == set(), "the site still uses the old database"
        with Steady(site, 6_000_000) as load:
            load.goes_on()
        assert load.failed == []
        assert load.acknowledged == site.numbers()
        backup = site.lines("backup")[-1]  # after a warning of MariaDB's tool
        bad = project.path / "backups" / "bad.tar"
        rewrite(project.path / backup, bad, cut)
        site.python("from ledger.models import Entry; Entry.objects.first().delete()")
        fewer = site.numbers()
        site.make("restore", "FILE=backups/bad.tar", fails=True)
        assert site.numbers() == fewer
        site.make("restore", f"FILE={backup}")
        assert load.acknowledged == site.numbers()
        assert not (project.path / "data" / ".restored").exists()
    finally:
        project.docker("rm", "--force", "--volumes", name)
