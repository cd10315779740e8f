"""Kubernetes: the manifests are valid, restricted and fit the image, and a failed deploy changes nothing.

The real kubectl talks to a simulated API server, and the pods' containers run on the Docker engine. Only
.github/workflows/kubernetes.yml deploys to a real cluster.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from pytest_copie.plugin import Copie

from tests.engine import Engine, ensure_image, ensure_kubectl
from tests.support import matrix, rendered
from tests.support.cluster import Cluster
from tests.support.matrix import Combination
from tests.support.project import Project, clean_up, get, make_project
from tests.support.rendered import files

pytestmark = pytest.mark.rotates(
    seconds=140,
    touched_by=[
        "*kubernetes*",
        "hooks/outside/*",
        "tests/support/cluster.py",
    ],
)


STACKS: dict[str, dict[str, str | bool]] = {
    "postgres": {"database": "postgres", "use_celery": True},
    "mariadb": {"database": "mariadb", "use_drf": False, "multi_stage": False},
}
# The oldest version that the README names, and the newest one with a schema.
VERSIONS = ["1.30", "1.37"]
ADDRESSES = {
    "DATABASE_URL": "postgres://app:0123456789@database.example.net:5432/app",
    "REDIS_URL": "redis://:0123456789@redis.example.net:6379",
}
COMPONENT = "app.kubernetes.io/component"
# The kinds of volumes that the restricted profile allows.
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
# Words that belong to the other ways to deploy.
ELSEWHERE = (
    r"compose\.production|scripts/(production|swarm|backup|restore)|make (backup|restore)|\b(data|backups)/\n|SITE_HOST"
    r"|(?i:caddy|swarm)"
)

Object = dict[str, Any]


@pytest.fixture(scope="module", params=STACKS)
def site(request: pytest.FixtureRequest, copie_session: Copie, engine: Engine) -> Iterator[Project]:
    """A project with its secrets and host names, and a kubectl without a cluster."""
    answers = {**matrix.pick(**STACKS[request.param]).answers, "deploy": "kubernetes"}
    combination = Combination(f"slipway-kubernetes-{request.param}", answers)
    project = make_project(copie_session, engine, combination)
    project.environment |= {"KUBECONFIG": os.devnull, "PATH": f"{ensure_kubectl().parent}:{engine.env['PATH']}"}
    assert "run DATABASE_URL=" in project.run("make", "--silent", "secrets", fails=True)
    project.environment |= ADDRESSES
    if project.database != "postgres":
        project.environment["DATABASE_URL"] = ADDRESSES["DATABASE_URL"].replace("postgres", "mysql")
    for overlay in overlays(project):
        assert "still contains example.com: replace" in project.run("make", "deploy", f"OVERLAY={overlay}", fails=True)
        file = f"deploy/kubernetes/overlays/{overlay}/kustomization.yaml"
        text = (project.path / file).read_text(encoding="utf-8")
        (project.path / file).write_text(text.replace("example.com", "example.net"), encoding="utf-8")
        assert "is missing or empty: run make secrets" in project.run(
            "make", "deploy", f"OVERLAY={overlay}", fails=True
        )
        project.run("make", "secrets", f"OVERLAY={overlay}")
    project.commit("Fit it to the cluster")
    yield project
    names = [f"{project.slug}-{name}" for name in ("migrate", "web", "worker", "beat")]
    project.run("sh", "-c", f"docker rm --force --volumes {' '.join(names)} || true")
    clean_up(project)


def overlays(site: Project) -> list[str]:
    """Return the names of the overlays."""
    return sorted(path.name for path in (site.path / "deploy" / "kubernetes" / "overlays").iterdir())


def build(site: Project, overlay: str) -> list[Object]:
    """Return an overlay's manifests."""
    return list(yaml.safe_load_all(site.run("kubectl", "kustomize", f"deploy/kubernetes/overlays/{overlay}")))


def of(manifests: list[Object], kind: str) -> dict[str, Object]:
    """Return the manifests of a kind: name -> manifest."""
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] == kind}


def templates(manifests: list[Object]) -> dict[str, Object]:
    """Return the templates of all pods: name -> template."""
    found = [each for each in manifests if "template" in each.get("spec", {})]
    return {each["metadata"]["name"]: each["spec"]["template"] for each in found}


@pytest.fixture(scope="module")
def built(site: Project) -> dict[str, list[Object]]:
    """All overlays' manifests."""
    assert overlays(site) == ["production", "staging"]
    return {overlay: build(site, overlay) for overlay in overlays(site)}


def chosen(selector: Object, template: Object) -> bool:
    """Return whether a label selector matches a pod."""
    labels: dict[str, str] = template["metadata"]["labels"]
    return all(labels.get(name) == value for name, value in selector["matchLabels"].items())


def number(site: Project, file: str, pattern: str) -> int:
    """Return the number that a pattern finds in one of the project's files."""
    found = re.search(pattern, (site.path / file).read_text(encoding="utf-8"))
    assert found, f"{file} lacks {pattern}"
    return int(found[1])


# --- the manifests -----------------------------------------------------------------------------------------------


def test_files_are_clean(site: Project) -> None:
    texts = files(site.path)
    rendered.yaml_is_clean(site)
    for name, text in texts.items():
        assert not (found := re.search(ELSEWHERE, text)), f"{name} has {found}"
    for check in (
        rendered.nothing_is_left_unrendered,
        rendered.white_space_is_clean,
        rendered.no_trace_of_what_was_not_chosen,
        rendered.the_compose_file_is_clean,
        rendered.the_makefile_lists_its_targets,
        rendered.a_worker_has_its_logs,
    ):
        check(site)
    assert not [name for name in texts if "secrets/" in name], "secrets are in git"
    assert ("deploy/kubernetes/base/worker.yaml" in texts) == site.combination.answers["use_celery"]


def test_it_is_valid_in_the_oldest_and_the_newest_version(site: Project, built: dict[str, list[Object]]) -> None:
    assert f"Kubernetes cluster, {VERSIONS[0]} or newer" in files(site.path)["README.md"]
    for version in VERSIONS:
        for manifests in built.values():
            for manifest in manifests:
                assert kubernetes_validate.validate(manifest, version, strict=True) == version
        misspelt = {**of(built["production"], "Service")["web"], "spek": {}}
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(misspelt, version, strict=True)


def test_every_container_fits_the_restricted_profile(site: Project, built: dict[str, list[Object]]) -> None:
    """Pod Security Standards, "restricted", and more: a read-only root, no token, no unlimited memory."""
    uid = number(site, "Dockerfile", r"USER (\d+):\1\n")
    assert uid > 0
    expected = {"web", "migrate", *(["worker", "beat"] if site.combination.answers["use_celery"] else [])}
    for manifests in built.values():
        [namespace] = of(manifests, "Namespace").values()
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
        spaces = {each["metadata"].get("namespace") for each in manifests if each["kind"] != "Namespace"}
        assert spaces == {namespace["metadata"]["name"]}
        assert set(templates(manifests)) == expected
        for name, template in templates(manifests).items():
            pod = template["spec"]
            assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & pod.keys(), name
            assert pod["automountServiceAccountToken"] is False, name
            own = pod["securityContext"]
            assert own.keys() <= {"runAsNonRoot", "fsGroup", "seccompProfile"}, name
            assert own["runAsNonRoot"] is True, name
            assert own["fsGroup"] == uid, name
            assert own["seccompProfile"] == {"type": "RuntimeDefault"}, name
            assert all(volume.keys() - {"name"} <= VOLUMES for volume in pod["volumes"]), name
            assert not {"initContainers", "ephemeralContainers"} & pod.keys(), "check these containers too"
            for container in pod["containers"]:
                assert container["securityContext"] == RESTRICTED, name
                assert not any("hostPort" in port for port in container.get("ports", [])), name
                resources = container["resources"]
                assert resources["limits"]["memory"], name
                assert {"cpu", "memory"} <= resources["requests"].keys(), name


def test_probes_ask_for_what_the_site_answers(site: Project, built: dict[str, list[Object]]) -> None:
    texts = files(site.path)
    answered = set(re.findall(r'scope\["path"\] == "(/\w+)"', texts["ops/front.py"]))
    assert answered == {"/livez", "/readyz"}
    for manifests in built.values():
        [web] = templates(manifests)["web"]["spec"]["containers"]
        [port] = web["ports"]
        assert port["containerPort"] == number(site, "Dockerfile", r"GRANIAN_PORT=(\d+)")
        probes = {name: web[f"{name}Probe"] for name in ("startup", "liveness", "readiness")}
        assert {name: probe["httpGet"]["path"] for name, probe in probes.items()} == {
            "startup": "/livez",
            "liveness": "/livez",
            "readiness": "/readyz",
        }
        assert all(probe["httpGet"].keys() == {"path", "port"} for probe in probes.values())
        assert all(probe["httpGet"]["port"] == port["name"] for probe in probes.values())
        # The site waits 2 seconds for its database before it answers that it is not ready.
        assert probes["readiness"]["timeoutSeconds"] > 5
        for name in {"worker", "beat"} & templates(manifests).keys():
            [container] = templates(manifests)[name]["spec"]["containers"]
            heartbeat = re.search(r'HEARTBEAT = Path\("(.+?)"\)', texts["ops/celery.py"])
            assert heartbeat
            for probe in (container["startupProbe"], container["livenessProbe"]):
                assert probe["exec"]["command"][:2] == ["python", "-c"], "an image without a shell has no other command"
                assert f"f = '{heartbeat[1]}'; " in probe["exec"]["command"][-1]
                assert "$(" not in probe["exec"]["command"][-1], "Kubernetes may expand this as a variable"


def test_whatever_stops_gets_the_time_it_takes(site: Project, built: dict[str, list[Object]]) -> None:
    for manifests in built.values():
        web = templates(manifests)["web"]["spec"]
        sleep = web["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        drain = number(site, "Dockerfile", r"GRANIAN_WORKERS_KILL_TIMEOUT=(\d+)")
        assert web["terminationGracePeriodSeconds"] > sleep + drain
        assert of(manifests, "Deployment")["web"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        if worker := templates(manifests).get("worker"):
            drain = number(site, "config/settings.py", r'"CELERY_DRAIN_SECONDS", default=(\d+)')
            assert worker["spec"]["terminationGracePeriodSeconds"] > drain
            beat = of(manifests, "Deployment")["beat"]["spec"]
            assert (beat["replicas"], beat["strategy"]) == (1, {"type": "Recreate"})
        timeout = re.search(r"LOCK_TIMEOUT = (\d+)", files(site.path)["ops/management/commands/migrate.py"])
        assert timeout
        assert of(manifests, "Job")["migrate"]["spec"]["activeDeadlineSeconds"] > int(timeout[1])


def test_autoscaler_budget_and_replicas_fit_together(site: Project, built: dict[str, list[Object]]) -> None:
    for overlay, manifests in built.items():
        web = of(manifests, "Deployment")["web"]
        scaler = of(manifests, "HorizontalPodAutoscaler")["web"]["spec"]
        budget = of(manifests, "PodDisruptionBudget")["web"]["spec"]
        assert scaler["scaleTargetRef"] == {
            "apiVersion": web["apiVersion"],
            "kind": web["kind"],
            "name": web["metadata"]["name"],
        }
        assert "replicas" not in web["spec"], "a deploy would reset the autoscaler's number"
        assert web["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"], (
            "the autoscaler's percentage refers to this"
        )
        assert scaler["minReplicas"] < scaler["maxReplicas"]
        # A host can be drained at any time, and in production another pod serves meanwhile.
        assert budget["maxUnavailable"] == 1
        assert scaler["minReplicas"] >= (2 if overlay == "production" else 1)
        workers = number(site, "Dockerfile", r"GRANIAN_WORKERS=(\d+)")
        threads = number(site, "Dockerfile", r"GRANIAN_BLOCKING_THREADS=(\d+)")
        pods = 2 * scaler["maxReplicas"]  # during a rollout, old pods still run
        assert pods * workers * threads <= 80, (
            "PostgreSQL allows 100 connections by default, and other clients need some"
        )
        for spread in web["spec"]["template"]["spec"]["topologySpreadConstraints"]:
            assert chosen(spread["labelSelector"], web["spec"]["template"])
            assert spread["whenUnsatisfiable"] == "ScheduleAnyway", "a cluster with one host could not run a second pod"


def test_selectors_choose_the_pods_that_they_mean(built: dict[str, list[Object]]) -> None:
    for manifests in built.values():
        pods = templates(manifests)
        [service] = of(manifests, "Service").values()
        assert [name for name, pod in pods.items() if chosen({"matchLabels": service["spec"]["selector"]}, pod)] == [
            "web"
        ]
        assert service["spec"]["ports"][0]["targetPort"] == pods["web"]["spec"]["containers"][0]["ports"][0]["name"]
        budget = of(manifests, "PodDisruptionBudget")["web"]["spec"]["selector"]
        assert [name for name, pod in pods.items() if chosen(budget, pod)] == ["web"]
        for name, deployment in of(manifests, "Deployment").items():
            assert [each for each, pod in pods.items() if chosen(deployment["spec"]["selector"], pod)] == [name]


def test_nothing_is_open_that_need_not_be(site: Project, built: dict[str, list[Object]]) -> None:
    port = {"postgres": 5432, "mariadb": 3306}[site.database]
    redis = {6379} if site.combination.answers["use_celery"] else set()
    for manifests in built.values():
        policies = [each["spec"] for each in of(manifests, "NetworkPolicy").values()]
        for name, pod in templates(manifests).items():
            mine = [each for each in policies if chosen(each["podSelector"], pod)]
            assert {kind for each in mine for kind in each["policyTypes"]} == {"Ingress", "Egress"}, name
            incoming = [rule for each in mine for rule in each.get("ingress", [])]
            assert [rule["ports"] for rule in incoming] == ([[{"port": 8000}]] if name == "web" else [])
            assert all(rule["from"] for rule in incoming)
            ports = {each["port"] for policy in mine for rule in policy.get("egress", []) for each in rule["ports"]}
            assert ports == {53, port, *redis}, name


def test_every_name_leads_somewhere(site: Project, built: dict[str, list[Object]]) -> None:
    texts = files(site.path)
    listed = set(re.findall(r"(?m)^(?:# )?([A-Z_]+)=", texts[".env.example"]))
    for overlay, manifests in built.items():
        [(config_name, config)] = of(manifests, "ConfigMap").items()
        [(secret_name, secret)] = of(manifests, "Secret").items()
        assert re.fullmatch(r"config-[a-z0-9]{10}", config_name)
        assert re.fullmatch(r"secrets-[a-z0-9]{10}", secret_name)
        for name, template in templates(manifests).items():
            pod = template["spec"]
            [container] = pod["containers"]
            assert container["envFrom"] == [{"configMapRef": {"name": config_name}}], name
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            volumes = {volume["name"]: volume for volume in pod["volumes"]}
            assert volumes[mounts["/run/secrets"]]["secret"]["secretName"] == secret_name, name
            assert "emptyDir" in volumes[mounts["/tmp"]], name
            assert set(mounts.values()) == set(volumes), name
            for claim in filter(None, (each.get("persistentVolumeClaim") for each in volumes.values())):
                assert claim["claimName"] in of(manifests, "PersistentVolumeClaim"), name
        settings = config["data"]
        assert {name.removesuffix("_FILE") for name in settings} <= listed
        read = {value.rpartition("/")[2] for name, value in settings.items() if name.endswith("_FILE")}
        assert read == set(secret["data"]) == {path.name for path in secrets(site, overlay).iterdir()}
        assert settings["HTTPS"] == "1"
        [ingress] = of(manifests, "Ingress").values()
        assert (
            ingress["spec"]["tls"][0]["hosts"] == [settings["ALLOWED_HOSTS"]] == [ingress["spec"]["rules"][0]["host"]]
        )
        assert "example.net" in settings["ALLOWED_HOSTS"]
        # A placeholder, which `make deploy` replaces with a version.
        images = {template["spec"]["containers"][0]["image"] for template in templates(manifests).values()}
        assert images == {f"registry.example.net/{site.slug}:set-by-make-deploy"}
        assert "latest" not in yaml.safe_dump(manifests)


def secrets(site: Project, overlay: str) -> Path:
    """Return the folder with an overlay's secrets."""
    return site.path / "deploy" / "kubernetes" / "overlays" / overlay / "secrets"


def test_a_changed_setting_or_secret_gives_new_pods(site: Project, built: dict[str, list[Object]]) -> None:
    before = of(built["production"], "Deployment")["web"]["spec"]["template"]
    key = secrets(site, "production") / "secret_key"
    assert key.stat().st_mode & 0o777 == 0o600
    kept = key.read_text(encoding="utf-8")
    assert "secret_key: kept" in site.run("make", "secrets")
    assert (
        key.read_text(encoding="utf-8") == kept != (secrets(site, "staging") / "secret_key").read_text(encoding="utf-8")
    )
    key.write_text("another\n", encoding="utf-8")
    assert of(build(site, "production"), "Deployment")["web"]["spec"]["template"] != before
    key.write_text(kept, encoding="utf-8")
    assert of(build(site, "production"), "Deployment")["web"]["spec"]["template"] == before


# --- the containers ----------------------------------------------------------------------------------


def start(site: Project, name: str, template: Object, settings: dict[str, str], folder: Path) -> str:
    """Start a pod's container with the rights, files and limits of its manifest; return its name."""
    pod = template["spec"]
    [container] = pod["containers"]
    options = ["--name", f"{site.slug}-{name}", "--network", f"{site.slug}_default", "--no-healthcheck"]
    options += ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    options += ["--memory", container["resources"]["limits"]["memory"].removesuffix("i")]
    options += ["--init"] if pod.get("shareProcessNamespace") else []
    options += ["--publish", "127.0.0.1::8000"] if container.get("ports") else []
    for mount in container["volumeMounts"]:
        path = mount["mountPath"]
        options += ["--volume", f"{folder}:{path}:ro"] if mount.get("readOnly") else ["--tmpfs", f"{path}:mode=1777"]
    options += [f"--env={key}={value}" for key, value in settings.items()]
    site.docker("run", "--detach", *options, site.slug, *container.get("command", []))
    return f"{site.slug}-{name}"


def answers(url: str) -> None:
    """Send a request as the kubelet does, to the pod's address; AssertionError or OSError unless it gets 200."""
    assert get(url, {"Host": "10.1.2.3:8000"}).status == 200


def passes(probe: Object, ask: Callable[[], object]) -> None:
    """Repeat a check until it passes, as often as a probe would; AssertionError if it never passes."""
    for _ in range(probe["failureThreshold"]):
        with suppress(AssertionError, OSError):
            ask()
            return
        time.sleep(probe["periodSeconds"])
    raise AssertionError("the probe never passed")


def test_the_image_runs_as_its_pods_say(
    site: Project, built: dict[str, list[Object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ADDRESSES:  # of servers that do not exist: here, development's serve the pods
        monkeypatch.delitem(site.environment, name, raising=False)
    pods = templates(built["production"])
    settings = of(built["production"], "ConfigMap").popitem()[1]["data"]
    services = yaml.safe_load(site.compose("config"))["services"]
    site.docker("build", "--quiet", "--tag", site.slug, ".")
    site.compose("up", "--detach", "--wait", *({"database", "redis"} & services.keys()))
    values = {"SECRET_KEY": "0123456789" * 5, **services["web"]["environment"]}
    for name in (name.removesuffix("_FILE") for name in settings if name.endswith("_FILE")):
        (tmp_path / name.lower()).write_text(values[name], encoding="utf-8")
    tmp_path.chmod(0o755)
    # The ingress controller's network.
    network = json.loads(site.docker("network", "inspect", f"{site.slug}_default"))[0]["IPAM"]["Config"][0]["Subnet"]
    migrate = start(site, "migrate", pods["migrate"], settings, tmp_path)
    assert site.docker("wait", migrate).strip() == "0", site.docker("logs", migrate)
    for name, template in pods.items():
        if name == "migrate":
            continue
        container = start(site, name, template, settings | {"TRUSTED_PROXIES": network}, tmp_path)
        [spec] = template["spec"]["containers"]
        first = spec["startupProbe"]
        for probe in filter(None, (spec.get(f"{each}Probe") for each in ("startup", "readiness", "liveness"))):
            if "httpGet" in probe:
                url = site.address(container) + probe["httpGet"]["path"]
                passes(first, partial(answers, url))
            else:
                passes(first, partial(site.docker, "exec", container, *probe["exec"]["command"]))
        if name == "web":
            page = get(site.address(container) + "/", {"Host": settings["ALLOWED_HOSTS"]})
            assert page.headers["location"] == f"https://{settings['ALLOWED_HOSTS']}/"
            proxied = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
            assert get(site.address(container) + "/", {"Host": settings["ALLOWED_HOSTS"], **proxied}).status == 200
            assert get(site.address(container) + "/", {"Host": "other.example.net"}).status == 400
            # An upload must fail, because it would be lost with the pod.
            assert "Read-only file system" in site.docker("exec", container, "mkdir", "/data/media", fails=True)
        assert site.docker("exec", container, "id", "-u").strip() == str(template["spec"]["securityContext"]["fsGroup"])
        grace = template["spec"].get("terminationGracePeriodSeconds", 30)
        site.docker("stop", "--timeout", str(grace), container)
        assert site.inspect(container)["State"]["ExitCode"] == 0, site.docker("logs", container)


# --- backups -----------------------------------------------------------------------------------------

# A database with a role that owns nothing else, by its administrator, in the server's container.
ROLES = {
    "postgres": "psql --username app --dbname app --command \"CREATE ROLE {name} LOGIN PASSWORD 'p@ss w0rd'\""
    ' --command "CREATE DATABASE {name} OWNER {name}"',
    "mariadb": "mariadb --user=root --password=development --execute=\"CREATE USER {name} IDENTIFIED BY 'p@ss w0rd';"
    ' CREATE DATABASE {name}; GRANT ALL ON {name}.* TO {name}"',
}
ADD = """
from accounts.models import User
User.objects.bulk_create(User(username=f"user-{number}", first_name="Ærø 日本") for number in range(%d))
"""
# Prints the number of users, a digest of them, and the tables besides the site's.
LOOK = """
import hashlib, json
from accounts.models import User
from django.db import connection
rows = list(User.objects.order_by("username").values_list("username", "first_name", "date_joined"))
digest = hashlib.sha256(repr(rows).encode()).hexdigest()
print(json.dumps([len(rows), digest, sorted({"extra", "later"} & {*connection.introspection.table_names()})]))
"""
SQL = """
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("%s")
"""
LATER = "CREATE TABLE later (id bigint PRIMARY KEY, entry bigint REFERENCES accounts_user (id))"
PASSWORD = "a long one: $HOME 'and' more"


@contextmanager
def with_backups(site: Project) -> Iterator[Path]:
    """Turn backups on in production, as the README says; yield the file with restic's variables."""
    overlay = "deploy/kubernetes/overlays/production/kustomization.yaml"
    off, on = "# components: [../../backup]", "components: [../../backup]"
    site.edit(overlay, off, on)
    file = site.path / "deploy" / "kubernetes" / "backup" / "backup.env"
    file.write_text(f"RESTIC_REPOSITORY=/repository\nRESTIC_PASSWORD={PASSWORD}\n", encoding="utf-8")
    try:
        yield file
    finally:
        site.edit(overlay, on, off)
        file.unlink()


def test_backups_are_off_until_a_line_turns_them_on(site: Project, built: dict[str, list[Object]]) -> None:
    uid = number(site, "Dockerfile", r"USER (\d+):\1\n")
    assert all(not of(manifests, "CronJob") for manifests in built.values())
    with with_backups(site) as file:
        manifests = build(site, "production")
        assert site.run("git", "check-ignore", str(file))
    more = [each for each in manifests if each not in built["production"]]
    assert sorted(each["kind"] for each in more) == ["CronJob", "CronJob", "NetworkPolicy", "Secret"]
    for version in VERSIONS:
        for each in more:
            assert kubernetes_validate.validate(each, version, strict=True) == version
    jobs = of(more, "CronJob")
    assert {name: each["spec"].get("suspend", False) for name, each in jobs.items()} == {
        "backup": False,
        "restore": True,
    }
    policies = [each["spec"] for each in of(manifests, "NetworkPolicy").values()]
    [secret] = of(more, "Secret")
    for name, each in jobs.items():
        template = each["spec"]["jobTemplate"]["spec"]["template"]
        pod = template["spec"]
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": uid,
            "fsGroup": uid,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & pod.keys()
        assert all(volume.keys() - {"name"} <= VOLUMES for volume in pod["volumes"])
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in (*pod["initContainers"], *pod["containers"]):
            assert container["securityContext"] == RESTRICTED, name
            assert container["resources"]["limits"]["memory"], name
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            script = container["command"][-1]
            assert "$$" not in script, "Kubernetes would make it one dollar sign"
            assert not re.search(r"\$\([A-Z_]+\)", script), "Kubernetes may expand this as a variable"
            [*sources] = [source for each in container.get("envFrom", []) for source in each.values()]
            sees = [source["name"] for source in sources]
            if "restic" in container["image"]:
                assert sees == [secret]
                assert "secrets" not in {mount["name"] for mount in container["volumeMounts"]}, "restic sees them"
            else:
                assert secret not in sees
        mine = [policy for policy in policies if chosen(policy["podSelector"], template)]
        assert not [rule for policy in mine for rule in policy.get("ingress", [])], name
        ports = {each["port"] for policy in mine for rule in policy.get("egress", []) for each in rule["ports"]}
        assert 443 in ports
        assert not chosen({"matchLabels": of(manifests, "Service")["web"]["spec"]["selector"]}, template)


@dataclass
class Pods:
    """Pods, one container after the other, with the users, rights and volumes of their manifest.

    There is no kubelet: Docker runs the commands of each container, and folders of this machine stand in for the
    volumes and for the bucket.
    """

    site: Project
    settings: dict[str, str]  #: of the ConfigMap
    folder: Path
    redis_url: str

    def run(
        self, pod: Object, url: str, variables: dict[str, str], before: dict[str, Callable[[Path], None]] | None = None
    ) -> tuple[str, str]:
        """Run a pod against a database; return the container that failed or "", and what the last one printed.

        `before` has functions that change the folder /backup before a container, by its name.
        """
        work, secrets = self.folder / "work", self.folder / "secrets"
        for folder in (work, secrets):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        (secrets / "database_url").write_text(url, encoding="utf-8")
        for name in (name.removesuffix("_FILE").lower() for name in self.settings if name.endswith("_FILE")):
            if name != "database_url":
                (secrets / name).write_text(self.redis_url if "redis" in name else "0123456789" * 5, encoding="utf-8")
        uid = str(pod["securityContext"]["runAsUser"])
        # What the kubelet does with an emptyDir: any user may write to it, and its group is fsGroup.
        os.chown(work, -1, pod["securityContext"]["fsGroup"])
        work.chmod(0o2777)
        folders = {"files": f"{work}:/backup", "secrets": f"{secrets}:/run/secrets:ro"}
        said = ""
        for container in (*pod.get("initContainers", []), *pod["containers"]):
            if before and container["name"] in before:
                before[container["name"]](work)
            image, name = container["image"].rpartition("/")[2], container["name"]
            image = self.site.slug if image.startswith(self.site.slug) else container["image"]
            options = ["--user", uid, "--group-add", str(pod["securityContext"]["fsGroup"]), "--read-only"]
            options += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--no-healthcheck"]
            options += ["--memory", container["resources"]["limits"]["memory"].removesuffix("i")]
            options += ["--network", f"{self.site.slug}_default"]
            for mount in container["volumeMounts"]:
                where = folders.get(mount["name"])
                assert where is None or where.split(":")[1] == mount["mountPath"]
                options += ["--volume", where] if where else ["--tmpfs", f"{mount['mountPath']}:mode=1777"]
            environment: dict[str, str] = {}
            for source in container.get("envFrom", []):
                environment |= self.settings if "configMapRef" in source else variables
            for each in container.get("env", []):
                environment[each["name"]] = each.get("value", self.site.slug)  # else the namespace's name
            if "secretRef" in str(container.get("envFrom")):
                options += ["--volume", f"{self.folder / 'repository'}:/repository"]
            options += [f"--env={key}={value}" for key, value in environment.items()]
            command = container["command"]
            result = subprocess.run(
                ["docker", "run", "--rm", *options, "--entrypoint", command[0], image, *command[1:]],
                env=self.site.engine.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            said = result.stdout
            if result.returncode:
                return name, said
        return "", said

    def python(self, url: str, *code: str) -> str:
        """Run a site's commands on a database."""
        options = ["--rm", "--no-healthcheck", "--network", f"{self.site.slug}_default", "--env", f"DATABASE_URL={url}"]
        options += ["--env", f"SECRET_KEY={'0123456789' * 5}", "--env", f"REDIS_URL={self.redis_url}"]
        return self.site.docker("run", *options, self.site.slug, "python", "manage.py", *code)

    def shell(self, url: str, code: str) -> str:
        """Run Python with Django loaded on a database."""
        return self.python(url, "shell", "--no-imports", "--command", code)


@pytest.mark.skipif(os.getuid() != 0, reason="gives folders to the pods' group")
def test_a_backup_comes_back_in_another_database(
    site: Project,
    built: dict[str, list[Object]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ADDRESSES:
        monkeypatch.delitem(site.environment, name, raising=False)
    site.docker("build", "--quiet", "--tag", site.slug, ".")
    services = yaml.safe_load(site.compose("config"))["services"]
    site.compose("up", "--detach", "--wait", *({"database", "redis"} & services.keys()))
    with with_backups(site):
        manifests = build(site, "production")
    specs = {
        name: each["spec"]["jobTemplate"]["spec"]["template"]["spec"] for name, each in of(manifests, "CronJob").items()
    }
    [restic] = [each["image"] for each in specs["backup"]["containers"]]
    ensure_image(site.engine, restic)
    scheme = {"postgres": "postgres", "mariadb": "mysql"}[site.database]
    urls = {}
    for name in ("here", "there"):
        site.compose("exec", "-T", "database", "sh", "-ec", ROLES[site.database].format(name=name))
        urls[name] = f"{scheme}://{name}:p%40ss%20w0rd@database/{name}"
    [settings] = [each["data"] for each in of(built["production"], "ConfigMap").values()]
    pods = Pods(site, settings, tmp_path, services["web"]["environment"].get("REDIS_URL", ""))
    for name, count in (("here", 250), ("there", 3)):
        pods.python(urls[name], "migrate")
        pods.shell(urls[name], ADD % count)
    pods.shell(urls["here"], SQL % "CREATE TABLE extra (id bigint PRIMARY KEY)")
    pods.shell(urls["there"], SQL % LATER)
    first, second = (json.loads(pods.shell(urls[name], LOOK)) for name in ("here", "there"))
    assert (first[::2], second[::2]) == ([250, ["extra"]], [3, ["later"]])
    repository = tmp_path / "repository"
    repository.mkdir()
    repository.chmod(0o777)
    tmp_path.chmod(0o755)
    variables = {"RESTIC_REPOSITORY": "/repository", "RESTIC_PASSWORD": PASSWORD}

    failed, said = pods.run(specs["backup"], urls["here"], variables)
    assert (failed, said.splitlines()[-1].partition(":")[0]) == ("store", "There is no repository at RESTIC_REPOSITORY")
    as_user = ["--user", str(specs["backup"]["securityContext"]["runAsUser"])]
    options = [f"--env={name}={value}" for name, value in variables.items()]
    site.docker(
        "run", "--rm", *as_user, *options, "--volume", f"{repository}:/repository", restic, "--no-cache", "init"
    )
    took: dict[str, float] = {}
    start = time.monotonic()
    assert pods.run(specs["backup"], urls["here"], variables) == ("", "")
    took["backup"] = time.monotonic() - start
    assert not list((tmp_path / "work").iterdir()), "the dump stays on the node"
    failed, said = pods.run(specs["backup"], urls["here"], variables | {"RESTIC_PASSWORD": "wrong"})
    assert (failed, said.splitlines()[-1].partition(":")[0]) == ("store", "RESTIC_PASSWORD is not the repository's")
    failed, said = pods.run(specs["restore"], urls["there"], variables | {"RESTIC_PASSWORD": "wrong"})
    assert (failed, "wrong password" in said) == ("fetch", True)

    def spoil(work: Path) -> None:
        """Let the dump fail while it is loaded."""
        if site.database == "postgres":
            pods.shell(urls["there"], SQL % "CREATE TYPE extra AS (x int)")  # as its table would be called
        else:
            with (work / "database").open("a", encoding="utf-8") as dump:
                dump.write("NONSENSE;\n")

    failed, said = pods.run(specs["restore"], urls["there"], variables, {"load": spoil})
    assert failed == "load", said
    assert json.loads(pods.shell(urls["there"], LOOK)) == second, "a failed restore has changed the data"
    if site.database == "postgres":
        assert "already exists" in said
        pods.shell(urls["there"], SQL % "DROP TYPE extra")
    else:
        assert said.splitlines()[-1] == "The restore failed, and the old data is back: see the message above"
    cached = "from django.core.cache import cache; "
    if pods.redis_url:
        pods.shell(urls["there"], cached + "cache.set('stale', 1, None)")
    archived: dict[str, Any] = {}

    def look(work: Path) -> None:
        """Note what a restore on one host, or a Swarm, would get."""
        [file] = work.glob(f"{site.slug}.tar")
        assert file.stat().st_size % 10240 == 0
        with tarfile.open(file) as tar:
            archived["names"] = tar.getnames()
            archived["manifest"] = tar.extractfile("manifest").read().decode()  # type: ignore[union-attr]

    start = time.monotonic()
    failed, said = pods.run(specs["restore"], urls["there"], variables, {"load": look})
    took["restore"] = time.monotonic() - start
    assert failed == "", said
    assert json.loads(pods.shell(urls["there"], LOOK)) == first == json.loads(pods.shell(urls["here"], LOOK))
    assert not pods.redis_url or pods.shell(urls["there"], cached + "print(cache.get('stale'))").strip() == "None"
    assert archived["names"] == ["manifest", "database", "media.tar", "SHA256SUMS"]
    assert f"project={site.slug}\ndatabase={site.database}\nformat=1\nversion=" in archived["manifest"]
    assert "No migrations to apply" in pods.python(urls["there"], "migrate")
    with capsys.disabled():
        print(f"\n| {site.slug}: {first[0]} rows, simulated pods | s |\n|---|---|")
        for what, seconds in took.items():
            print(f"| {what} | {seconds:.1f} |")


# --- make deploy -------------------------------------------------------------------------------------------------


@pytest.fixture
def cluster(site: Project, tmp_path: Path) -> Iterator[Cluster]:
    """A simulated cluster that runs version v1."""
    cluster = Cluster()
    site.environment |= {"KUBECONFIG": str(cluster.kubeconfig(tmp_path / "config")), "HOME": str(tmp_path)}
    site.run("make", "deploy", "TAG=v1")
    yield cluster
    site.environment["KUBECONFIG"] = os.devnull
    cluster.stop()


def running(site: Project, cluster: Cluster) -> set[str]:
    """Return the versions in the Deployments' manifests."""
    names = ["web", *(["worker", "beat"] if site.combination.answers["use_celery"] else [])]
    return {cluster.image(name).removeprefix(f"registry.example.net/{site.slug}") for name in names}


def sentence(said: str) -> str:
    """Return the last line that make itself did not print."""
    return next(line for line in reversed(said.splitlines()) if not line.startswith("make"))


def test_the_migrations_come_after_the_settings_and_before_the_pods(site: Project, cluster: Cluster) -> None:
    order = [line.partition(" ")[2] for line in cluster.log]
    job, first = order.index("Job/migrate"), min(order.index(each) for each in order if "Deployment" in each)
    settings = [
        position for position, each in enumerate(order) if re.match("Namespace|ConfigMap|Secret|NetworkPolicy", each)
    ]
    assert max(settings) < job < first
    assert running(site, cluster) == {":v1"}
    cluster.log.clear()
    said = site.run("make", "deploy")
    version = site.run("git", "rev-parse", "--short=12", "HEAD").strip()
    assert sentence(said) == f"{version} is up at https://www.example.net"
    assert running(site, cluster) == {f":{version}"}
    digest = "sha256:" + "0" * 64
    site.run("make", "deploy", f"TAG={digest}", "OVERLAY=staging")
    assert running(site, cluster) == {f":{version}"}, "a deploy to staging changed production"
    site.run("make", "deploy", f"TAG={digest}")
    assert running(site, cluster) == {f"@{digest}"}


def test_backups_get_a_version_when_it_runs(site: Project, cluster: Cluster) -> None:
    assert not cluster.of("CronJob")
    cluster.log.clear()
    with with_backups(site):
        site.run("make", "deploy", "TAG=v2")
        order = [line.partition(" ")[2] for line in cluster.log]
        assert order.index("CronJob/backup") > max(order.index(each) for each in order if "Deployment" in each)
        site.run("make", "deploy", "TAG=unready", fails=True)
    image = f"registry.example.net/{site.slug}:v2"
    for name in ("backup", "restore"):
        text = json.dumps(cluster.get("CronJob", name))
        assert f'"{image}"' in text
        assert "set-by-make-deploy" not in text
        # As `kubectl create job`, which sends it in a format that the simulation does not read.
        create = f"kubectl -n {site.slug} create job {name}-1 --from cronjob/{name} --dry-run=client --output json"
        site.run("sh", "-c", f"{create} | kubectl -n {site.slug} create -f -")
        site.run("kubectl", "-n", site.slug, "wait", "--for", "condition=complete", "--timeout", "1m", f"job/{name}-1")
        job = (cluster.get("Job", f"{name}-1") or {})["spec"]["template"]["spec"]
        assert job["containers"][0]["name"] == {"backup": "store", "restore": "load"}[name]


def test_a_failed_migration_leaves_the_version_that_runs(site: Project, cluster: Cluster) -> None:
    said = site.run("make", "deploy", "TAG=unmigrated", fails=True)
    assert sentence(said) == "The migrations failed, and the running version stays up: see the message above"
    assert "what the container said" in said
    assert running(site, cluster) == {":v1"}
    said = site.run("make", "deploy", "TAG=unpullable", fails=True)
    assert sentence(said) == "unpullable cannot be started, and the running version stays up: see the message above"
    assert running(site, cluster) == {":v1"}
    assert not cluster.get("Job", "migrate"), "the Job would keep trying to pull the image"
    site.run("make", "deploy", "TAG=v2")
    assert running(site, cluster) == {":v2"}


def test_one_migrates_at_a_time(site: Project, cluster: Cluster) -> None:
    job = cluster.get("Job", "migrate")
    assert job
    job["status"] = {"active": 1}
    assert sentence(site.run("make", "deploy", "TAG=v2", fails=True)) == "Another deploy is migrating: wait for it"
    assert cluster.get("Job", "migrate") is job
    assert running(site, cluster) == {":v1"}


def test_a_version_that_does_not_get_ready_is_taken_back(site: Project, cluster: Cluster) -> None:
    said = site.run("make", "deploy", "TAG=unready", fails=True)
    assert "exceeded its progress deadline" in said
    assert "what the container said" in said
    assert sentence(said) == "unready does not become ready. The previous version, if any, has been applied again"
    assert running(site, cluster) == {":v1"}
    assert "PATCH Deployment/web" in cluster.log
    cluster.refuses = "Deployment"
    assert "The cluster rejects v2" in sentence(site.run("make", "deploy", "TAG=v2", fails=True))
    assert running(site, cluster) == {":v1"}


def test_an_earlier_version_comes_back_by_its_tag(site: Project, cluster: Cluster) -> None:
    site.run("make", "deploy", "TAG=v2")
    cluster.log.clear()
    site.run("make", "rollback", "TAG=v1")
    assert running(site, cluster) == {":v1"}
    assert not [line for line in cluster.log if "Job" in line], "a rollback ran migrations"
    assert sentence(site.run("make", "rollback", fails=True)).startswith("Which version? Run make rollback TAG=...")


# In place of cosign: it finds a signature of the digest that ends with 0.
COSIGN = """#!/bin/sh
echo "$@" >> "$0.log"
case "$*" in *0) ;; *) echo "no signatures found" >&2; exit 1 ;; esac
"""


def test_an_image_without_the_signature_that_is_asked_for_is_refused(
    site: Project, cluster: Cluster, tmp_path: Path
) -> None:
    path = site.environment["PATH"]
    (tmp_path / "cosign").write_text(COSIGN, encoding="utf-8")
    (tmp_path / "cosign").chmod(0o755)
    signed, other = (f"sha256:{digit * 64}" for digit in "01")
    site.environment |= {"COSIGN_VERIFY": "--key=team.pub --insecure-ignore-tlog", "PATH": f"{tmp_path}:{path}"}
    try:
        before = list(cluster.log)
        said = site.run("make", "deploy", "TAG=v2", fails=True)
        assert sentence(said).startswith("COSIGN_VERIFY needs the digest, because a tag can be moved: ")
        said = site.run("make", "deploy", f"TAG={other}", fails=True)
        assert "no signatures found" in said
        assert f"@{other} is not signed as COSIGN_VERIFY asks, and the running version stays up: " in sentence(said)
        assert cluster.log == before
        site.run("make", "deploy", f"TAG={signed}")
    finally:
        del site.environment["COSIGN_VERIFY"]
        site.environment["PATH"] = path
    assert running(site, cluster) == {f"@{signed}"}
    image = f"registry.example.net/{site.slug}@{signed}"
    asked = (tmp_path / "cosign.log").read_text(encoding="utf-8").splitlines()
    assert asked[-1] == f"verify --key=team.pub --insecure-ignore-tlog {image}"


def test_production_has_commands_of_its_own(site: Project, cluster: Cluster) -> None:
    """As far as the simulation goes: it has no containers, so a command gets to the API, and no further."""
    site.run("make", "prod-manage", "CMD=showmigrations ledger", fails=True)
    site.run("make", "prod-createsuperuser", fails=True)
    commands = [line for line in cluster.log if line.startswith("EXEC ")]
    assert dict.fromkeys(commands) == dict.fromkeys(
        f"EXEC python manage.py {command}" for command in ("showmigrations ledger", "createsuperuser")
    )
    assert "deployment.apps/web" in site.run("make", "prod-status")
    assert "what the container said" in site.run("timeout", "20", "make", "prod-logs")
    names = ["web", *(["worker", "beat"] if site.combination.answers["use_celery"] else [])]
    site.run("make", "prod-stop")
    assert [f"SCALE {name} 0" for name in names] == [line for line in cluster.log if line.startswith("SCALE")]
    site.run("make", "deploy", "TAG=v2")
    assert (cluster.get("Deployment", "web") or {})["spec"].get("replicas") != 0, "it stays stopped"
    said = site.run("make", "prod-status", "OVERLAY=staging", fails=True)
    assert sentence(said) == f"Nothing is deployed in {site.slug}-staging yet: run make deploy first"


def test_it_says_what_is_wrong(site: Project, cluster: Cluster, tmp_path: Path) -> None:
    before = list(cluster.log)
    for target in ("deploy", "secrets"):
        assert sentence(site.run("make", target, "OVERLAY=prod", fails=True)).startswith("There is no overlay prod: ")
    assert sentence(site.run("make", "deploy", "TAG=latest", fails=True)).startswith("latest is not a version, ")
    (site.path / "untidy.txt").touch()
    assert "commit them" in sentence(site.run("make", "deploy", fails=True))
    (site.path / "untidy.txt").unlink()
    config = site.environment["KUBECONFIG"]
    site.environment["KUBECONFIG"] = os.devnull
    assert sentence(site.run("make", "deploy", "TAG=v2", fails=True)).startswith("kubectl has no current context: ")
    site.environment["KUBECONFIG"] = config
    path = site.environment["PATH"]
    (tmp_path / "bin").mkdir()
    for name in ("dirname", "sh", "make", "id", "sed"):
        (tmp_path / "bin" / name).symlink_to(site.run("sh", "-c", f"command -v {name}").strip())
    site.environment["PATH"] = str(tmp_path / "bin")
    assert "kubectl is missing: " in site.run("make", "deploy", "TAG=v2", fails=True)
    site.environment["PATH"] = path
    assert cluster.log == before
    cluster.stop()
    assert "The cluster test does not answer" in sentence(site.run("make", "deploy", "TAG=v2", fails=True))
