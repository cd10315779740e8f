"""Production on one host, deployed as in the README: hardened, behind HTTPS, and robust against failures."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope
from pytest_copie.plugin import Copie

from tests.engine import Engine, ensure_image
from tests.support import matrix
from tests.support.matrix import Combination
from tests.support.production import Load, Production, add_ledger, any_certificate, own_address
from tests.support.project import clean_up, free_port, make_project, until

pytestmark = pytest.mark.rotates(
    seconds=200,
    touched_by=[
        *("*compose.production*", "*Caddyfile*", "hooks/deploy/*.sh", "*/production.sh*", "hooks/production/*"),
        "tests/support/production.py",
    ],
)


# The database on a small disk in memory. The holder keeps the disk mounted while the database restarts.
SMALL_DISK = """
services:
  {service}:
    volumes:
      - disk:{folder}:nocopy
  holder:
    image: {image}
    user: "{user}"
    command: sleep infinity
    stop_grace_period: 0s
    healthcheck:
      test: "true"
    volumes:
      - disk:/disk
volumes:
  disk:
    driver_opts:
      type: tmpfs
      device: tmpfs
      o: size={size}m,uid={uid}
"""
SECRET_FILES = {"secret_key", "database_password", "database_url", "redis.conf", "redis_url"}


STACKS: dict[str, dict[str, str | bool]] = {
    "sqlite": {"database": "sqlite", "use_drf": False, "multi_stage": False},
    "postgres": {"database": "postgres", "use_celery": True},
    "mariadb": {"database": "mariadb", "multi_stage": False},
    "mysql": {"database": "mysql"},
}


@pytest.fixture(scope="module", params=STACKS)
def site(request: pytest.FixtureRequest, copie_session: Copie, engine: Engine) -> Iterator[Production]:
    """A project with an app that stores rows, committed and not yet deployed."""
    ensure_image(engine, "caddy:2")
    combination = Combination(f"slipway-production-{request.param}", matrix.pick(**STACKS[request.param]).answers)
    project = make_project(copie_session, engine, combination)
    add_ledger(project)
    production = Production(project, free_port(), free_port())
    yield production
    production.remove()
    clean_up(project)


def test_it_says_what_is_missing(site: Production) -> None:
    path = site.project.path
    said = site.make("deploy", fails=True)
    assert said.splitlines()[0] == "secrets/secret_key is missing or empty: run make secrets"
    site.make("secrets")
    made = {file.name: file.read_bytes() for file in (path / "secrets").iterdir()}
    assert set(made) <= SECRET_FILES
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in (path / "secrets").iterdir())
    assert "created" not in site.make("secrets")
    assert {file.name: file.read_bytes() for file in (path / "secrets").iterdir()} == made
    said = site.make("deploy", fails=True)
    assert said.splitlines()[0] == "SITE_HOST is missing: add SITE_HOST=www.example.com to production.env"
    site.configure(58, "EMAIL_URL=smtp://ada:pa$word@mail")
    assert site.make("deploy", fails=True).startswith("production.env has $word, which is not set: ")
    site.configure(58 + list(STACKS).index(site.project.database))
    site.project.environment["GIT_DIR"] = "/nowhere"
    assert site.make("deploy", fails=True).startswith("There is no commit to deploy: git says fatal: not a git repo")
    del site.project.environment["GIT_DIR"]
    (path / "untidy.txt").touch()
    assert "commit them" in site.make("deploy", fails=True)
    (path / "untidy.txt").unlink()
    assert site.project.run("git", "status", "--porcelain") == "", "git does not ignore the secrets or the data"


def test_it_is_deployed_with_one_command(site: Production) -> None:
    said = site.deploy_commit()
    assert said.splitlines()[-1].endswith(f"is up at https://localhost:{site.https_port}")
    tag = site.project.environment["TAG"]
    labels = site.project.inspect(f"{site.project.slug}:{tag}")["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == tag
    assert site.status("/") == 200
    assert site.readiness() == 200
    assert site.status("/readyz") == 404, "the world can ask how the database is"


def test_a_full_queue_refuses_tasks_and_is_not_ended_for_its_size(site: Production) -> None:
    if "redis_url" not in site.secrets():
        assert "redis" not in site.compose("config", "--services").split()
        return
    password = "REDISCLI_AUTH=$(sed 's/requirepass //' /run/secrets/redis_conf)"
    asked = site.compose("exec", "-T", "redis", "sh", "-c", f"{password} valkey-cli config get maxmemory")
    limit = site.project.inspect(site.compose("ps", "--quiet", "redis").strip())["HostConfig"]["Memory"]
    assert 0 < int(asked.split()[1]) < limit * 0.8


def test_every_container_is_hardened(site: Production) -> None:
    secrets = [file.read_text(encoding="utf-8").strip() for file in (site.project.path / "secrets").iterdir()]
    for container in site.compose("ps", "--quiet").split():
        text = site.project.docker("inspect", container)
        seen = json.loads(text)[0]
        name, host = seen["Name"], seen["HostConfig"]
        assert int(seen["Config"]["User"].partition(":")[0]) > 0, name
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        needed = ["CAP_NET_BIND_SERVICE"] if seen["Config"]["Image"].startswith("caddy:") else []
        assert (host["CapAdd"] or []) == needed, name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert host["Memory"] > 0, name
        assert host["NanoCpus"] > 0, name
        assert host["PidsLimit"] > 0, name
        assert host["RestartPolicy"]["Name"] == "unless-stopped", name
        assert host["LogConfig"]["Config"] == {"max-file": "5", "max-size": "10m"}, name
        assert bool(host["PortBindings"]) == ("caddy" in name), name
        assert not any(secret in text for secret in secrets), f"{name} shows a secret"
        status = site.project.docker("exec", container, "cat", "/proc/1/status")
        assert "CapEff:\t0000000000000000" in status or needed, name
    assert site.compose("exec", "-T", "web", "python", "manage.py", "check", "--deploy", "--fail-level", "WARNING")


def test_its_answers_are_safe_to_show(site: Production) -> None:
    status, headers, _ = site.ask("/")
    assert status == 200
    for name in ("strict-transport-security", "content-security-policy", "x-content-type-options", "x-frame-options"):
        assert len(headers[name]) == 1, name
    assert "unsafe" not in headers["content-security-policy"][0]
    assert "h3" in headers["alt-svc"][0]
    assert "server" not in headers
    _, headers, _ = site.ask("/admin/login/")
    assert all("Secure" in cookie for cookie in headers["set-cookie"])
    plain = http.client.HTTPConnection("localhost", site.http_port, timeout=60)
    plain.request("GET", "/")
    assert plain.getresponse().status == 308


def test_forged_headers_are_not_believed(site: Production) -> None:
    forged = {"X-Forwarded-Proto": "http", "X-Forwarded-For": "1.2.3.4", "X-Forwarded-Host": "evil.example"}
    assert site.status("/", headers=forged) == 200
    # Without the proxy, from an address that is not trusted: the request counts as plain HTTP.
    code = (
        "import http.client; c = http.client.HTTPConnection('127.0.0.1', 8000);"
        "c.request('GET', '/', headers={'Host': 'localhost', 'X-Forwarded-Proto': 'https'});"
        "print(c.getresponse().status)"
    )
    assert site.compose("exec", "-T", "web", "python", "-c", code).strip() == "301"
    # A wrong password is counted for the client's real address.
    _, headers, _ = site.ask("/admin/login/")
    token = next(each for each in headers["set-cookie"] if "csrftoken=" in each).split("csrftoken=")[1].split(";")[0]
    guess = http.client.HTTPConnection("localhost", site.https_port)
    # By this machine's own address: requests to its loopback address arrive from Docker's gateway.
    raw = socket.create_connection((own_address(), site.https_port), timeout=60)
    guess.sock = any_certificate().wrap_socket(raw, server_hostname="localhost")
    guess.request(
        "POST",
        "/admin/login/",
        f"username=eve&password=guess&csrfmiddlewaretoken={token}",
        forged
        | {
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": f"csrftoken={token}",
            "Referer": f"https://localhost:{site.https_port}/admin/login/",
        },
    )
    assert guess.getresponse().status == 200
    code = "from axes.models import AccessAttempt; print(*AccessAttempt.objects.values_list('ip_address', flat=True))"
    counted = site.python(code).split()
    assert counted == [own_address()]


def test_uploads_never_run_as_a_page(site: Production) -> None:
    media = site.project.path / "data" / "site" / "media"
    (media / "page.html").write_text("<script>alert(1)</script>", encoding="utf-8")
    (media / "picture.png").write_bytes(b"\x89PNG")
    status, headers, _ = site.ask("/media/page.html")
    assert status == 200
    assert headers["content-disposition"] == ["attachment"]
    status, headers, _ = site.ask("/media/picture.png")
    assert "content-disposition" not in headers
    assert headers["x-content-type-options"] == ["nosniff"]
    assert "sandbox" in headers["content-security-policy"][0]


def test_nonsense_does_no_harm(site: Production) -> None:
    for number in range(200):
        with socket.create_connection(
            ("localhost", site.https_port if number % 2 else site.http_port), timeout=60
        ) as raw:
            raw.sendall(b"\x00\xffGET / HTTP/9.9\r\nHost: \x00\r\n" * (number % 3 + 1))
    for path in ("/%00", "/%ff", "/" + "a" * 9000, "/?" + "b" * 9000, "/static/../../etc/passwd"):
        assert site.status(path) in {0, 200, 400, 404, 414}, path
    assert site.status("/") == 200


def test_another_name_is_not_served(site: Production) -> None:
    assert site.status("/", headers={"Host": "evil.example"}) == 421
    plain = http.client.HTTPConnection("localhost", site.http_port, timeout=60)
    plain.request("GET", "/", headers={"Host": "evil.example"})
    with pytest.raises(http.client.RemoteDisconnected):
        plain.getresponse()
    context = any_certificate()
    with socket.create_connection(("localhost", site.https_port), timeout=60) as raw, pytest.raises(ssl.SSLError):
        context.wrap_socket(raw, server_hostname="evil.example")


def test_a_body_that_is_too_large_is_refused(site: Production) -> None:
    # The header is enough: no byte of the body is sent.
    status, headers, _ = site.ask("/admin/login/", "POST", {"Content-Length": "100000000"}, timeout=60)
    assert status == 413
    assert "server" not in headers
    # Without a length, the body is cut off at the limit.
    start = time.monotonic()
    assert site.status("/admin/login/", method="POST", body=iter([b"x" * 1_000_000] * 100)) in {0, 403, 413, 502}
    assert time.monotonic() - start < 60
    assert site.status("/") == 200


def test_slow_clients_are_let_go(site: Production) -> None:
    clients: list[socket.socket] = []
    context = any_certificate()
    for number in range(50):
        port = site.https_port if number % 2 else site.http_port
        raw = socket.create_connection(("localhost", port), timeout=60)
        if number % 2:
            raw = context.wrap_socket(raw, server_hostname="localhost")
        raw.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        clients.append(raw)
    assert site.status("/") == 200
    start = time.monotonic()
    for raw in clients:
        while raw.recv(1000):  # until the server closes it
            pass
        raw.close()
    assert time.monotonic() - start < 60


def test_a_slow_request_survives_a_stop(site: Production) -> None:
    answers: list[int] = []
    asker = threading.Thread(target=lambda: answers.append(site.status("/slow/")))
    asker.start()
    time.sleep(1)
    web = site.compose("ps", "--quiet", "web").strip()
    site.compose("stop", "web")
    asker.join()
    assert answers == [200]
    assert site.project.inspect(web)["State"]["ExitCode"] == 0
    site.compose("start", "web")
    until(lambda: site.status("/") == 200)


def test_no_acknowledged_write_is_lost_when_the_database_goes_away(site: Production) -> None:
    if site.project.database == "sqlite":
        assert "database" not in site.compose("config", "--services").split()
        return
    started = site.project.inspect(site.compose("ps", "--quiet", "web").strip())["State"]["StartedAt"]
    with Load(site, 1_000_000) as load:
        until(lambda: len(load.acknowledged) > 50)
        site.compose("stop", "database")
        before = len(load.answers)
        # On average, each of the site's eight threads has failed six times.
        until(lambda: len(load.answers) - before >= 48)
        assert site.status("/livez") == 200
        assert site.readiness() == 503
        away = load.answers[before:]
        site.compose("start", "database")
        site.project.wait_healthy(site.compose("ps", "--quiet", "database").strip())
        # By default, psycopg's pool doubles the time between its attempts to connect.
        until(lambda: {status for status, _ in load.answers[-20:]} == {201}, within=15)
    assert {status for status, _ in away} <= {503}, away[:20]
    assert max(seconds for _, seconds in away) < 20
    assert load.acknowledged <= site.numbers()
    assert site.project.inspect(site.compose("ps", "--quiet", "web").strip())["State"]["StartedAt"] == started


def test_probes_answer_while_the_database_hangs(site: Production) -> None:
    if site.project.database == "sqlite":
        assert "database" not in site.compose("config", "--services").split()
        return
    site.compose("pause", "database")
    try:
        # More than the site has threads.
        clients = [threading.Thread(target=site.status, args=["/ledger/"]) for _ in range(12)]
        for client in clients:
            client.start()
        until(lambda: site.readiness() == 503)
        for _ in range(20):
            assert site.status("/livez", timeout=10) == 200
        start = time.monotonic()
        assert site.readiness() == 503
        assert time.monotonic() - start < 15
        assert any(client.is_alive() for client in clients)
    finally:
        site.compose("unpause", "database")
    until(lambda: site.readiness() == 200)
    until(lambda: site.status("/ledger/") == 200)
    for client in clients:
        client.join()
    # Docker checked the paused container as well, and starts nothing that depends on an unhealthy one.
    site.project.wait_healthy(site.compose("ps", "--quiet", "database").strip())


@pytest.mark.parametrize("service", ["web", "database"])
def test_no_acknowledged_write_is_lost_when_a_container_is_killed(site: Production, service: str) -> None:
    if service not in site.compose("config", "--services").split():
        assert site.project.database == "sqlite"
        return
    with Load(site, 2_000_000 if service == "web" else 3_000_000) as load:
        until(lambda: len(load.acknowledged) > 50)
        container = site.compose("ps", "--quiet", service).strip()
        site.compose("kill", "--signal", "KILL", service)
        until(lambda: not site.project.inspect(container)["State"]["Running"])
        site.compose("up", "--detach", "--wait", service)
        seen = len(load.answers)
        until(lambda: any(status == 201 for status, _ in load.answers[seen:]))
    assert load.acknowledged <= site.numbers()


def test_a_failing_migration_leaves_the_old_version_serving(site: Production) -> None:
    good = site.project.environment["TAG"]
    web = site.compose("ps", "--quiet", "web").strip()
    migration = site.project.path / "ledger" / "migrations" / "0002_broken.py"
    migration.write_text(
        "from django.db import migrations\n\n\nclass Migration(migrations.Migration):\n"
        '    dependencies = [("ledger", "0001_initial")]\n    operations = [migrations.RunSQL("nonsense")]\n',
        encoding="utf-8",
    )
    site.project.commit("Break a migration")
    site.project.environment.pop("TAG")
    said = site.make("deploy", fails=True)
    assert f"The migrations failed, and {good} stays up: " in said
    site.project.environment["TAG"] = good
    assert site.compose("ps", "--quiet", "web").strip() == web
    assert site.status("/") == 200


def test_an_earlier_version_comes_back_by_its_tag(site: Production) -> None:
    good = site.project.environment.pop("TAG")
    (site.project.path / "ledger" / "migrations" / "0002_broken.py").unlink()
    site.project.edit("templates/home.html", "Welcome.", "Welcome to the next version.")
    site.project.environment["TAG"] = site.project.commit("Greet")
    site.make("deploy")
    assert b"the next version" in site.ask("/")[2]
    site.make("rollback", f"TAG={good}")
    assert b"the next version" not in site.ask("/")[2]
    said = site.make("rollback", "TAG=nonsense", fails=True)
    assert "data/releases lists the tags" in said
    assert site.status("/") == 200


def test_every_secret_is_asked_for(site: Production) -> None:
    image = f"{site.project.slug}:{site.project.environment['TAG']}"
    scheme = {"postgres": "postgres", "mariadb": "mysql", "mysql": "mysql"}.get(site.project.database)
    given = {"SECRET_KEY": "0123456789" * 5}
    given |= {"DATABASE_URL": f"{scheme}://app:0123456789@database/app"} if scheme else {}
    given |= {"REDIS_URL": "redis://:0123456789@redis:6379"} if "redis_url" in site.secrets() else {}

    def refuse(name: str, wrong: dict[str, str]) -> None:
        rest = {key: value for key, value in given.items() if key != name}
        options = [f"--env={key}={value}" for key, value in (rest | wrong).items()]
        [line] = site.project.docker("run", "--rm", *options, image, fails=True).splitlines()
        assert line.startswith("Configuration error: ")
        assert name in line
        assert given[name] not in line

    cases = [
        (name, wrong)
        for name, value in given.items()
        for wrong in ({}, {name: ""}, {name: f"{value}-changeme"}, {name: value, f"{name}_FILE": "/etc/hostname"})
    ]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda case: refuse(*case), cases))


def test_a_deploy_without_its_secrets_changes_nothing(site: Production) -> None:
    running = site.compose("ps", "--quiet")
    folder = site.project.path / "secrets"
    for name in sorted(site.secrets()):
        kept = folder / f"{name}.kept"
        (folder / name).rename(kept)
        for missing in (True, False):
            if not missing:
                (folder / name).touch()
            first, *others = site.make("deploy", fails=True).splitlines()
            assert first == f"secrets/{name} is missing or empty: run make secrets"
            assert all(line.startswith("make: ***") for line in others)
        kept.rename(folder / name)
    key = folder / "secret_key"
    good = key.read_text(encoding="utf-8")
    key.write_text("changeme\n", encoding="utf-8")
    assert "Configuration error: SECRET_KEY is a placeholder." in site.make("deploy", fails=True)
    key.write_text(good, encoding="utf-8")
    with site.production_env("SECRET_KEY=also-given-in-a-variable-of-32-characters"):
        said = site.make("deploy", fails=True)
    assert "Configuration error: both SECRET_KEY and SECRET_KEY_FILE are set. Remove one of them." in said
    assert site.compose("ps", "--quiet") == running
    assert site.status("/") == 200


def test_the_last_line_of_a_failed_deploy_has_the_cause(site: Production) -> None:
    running, good = site.compose("ps", "--quiet"), site.latest()

    def refuse(cause: str) -> None:
        said = site.lines("deploy", fails=True)
        assert re.search(f"and {good} stays up: .*{cause}", said[-1]), said
        assert not any("Traceback" in line for line in said)

    with site.production_env("EMAIL_URL=nonsense://mail"):
        refuse("Configuration error: EMAIL_URL must start with smtp://")
    if "database_url" in site.secrets():
        file = site.project.path / "secrets" / "database_url"
        url = file.read_text(encoding="utf-8")
        password = re.findall(":([^:@]+)@", url)[0]
        try:
            for wrong, cause in {
                url.replace(password, "0123456789-rotated"): "(password authentication failed|Access denied)",
                url.replace("@database", "@nowhere.invalid"): "nowhere.invalid",
            }.items():
                file.write_text(wrong, encoding="utf-8")
                refuse(f"The database cannot be used: .*{cause}")
        finally:
            file.write_text(url, encoding="utf-8")
    assert site.compose("ps", "--quiet") == running
    assert site.status("/") == 200


def test_mail_leaves_through_a_real_server(site: Production) -> None:
    received: list[Envelope] = []

    class Inbox:
        async def handle_DATA(self, server: object, session: object, envelope: Envelope) -> str:  # noqa: N802
            received.append(envelope)
            return "250 OK"

    network = site.project.inspect(f"{site.project.slug}-production_frontend")
    gateway = next(ip_network(network["IPAM"]["Config"][0]["Subnet"]).hosts())  # this machine
    server = Controller(Inbox(), hostname=str(gateway), port=free_port())
    send = ["exec", "-T", "web", "python", "manage.py", "sendtestemail", "ada@example.com"]
    assert "No mail can be sent: set EMAIL_URL" in site.compose(*send, fails=True)
    with site.production_env(f"EMAIL_URL=smtp://{server.hostname}:{server.port}\nDEFAULT_FROM_EMAIL=site@example.com"):
        site.make("deploy")
        server.start()
        site.compose(*send)
        server.stop()
        [mail] = received
        assert (mail.mail_from, mail.rcpt_tos) == ("site@example.com", ["ada@example.com"])
        assert "Subject: Test email from" in str(mail.content)
        start = time.monotonic()
        assert "ConnectionRefusedError" in site.compose(*send, fails=True).splitlines()[-1]
        assert time.monotonic() - start < 60


def test_a_full_disk_loses_nothing(site: Production, tmp_path: Path) -> None:
    innodb = site.project.database in {"mariadb", "mysql"}
    service, folder, size = {
        "sqlite": ("web", "/data", 50),
        "postgres": ("database", "/var/lib/postgresql", 200),
        "mariadb": ("database", "/var/lib/mysql", 400),
        "mysql": ("database", "/var/lib/mysql", 400),
    }[site.project.database]
    user, image = site.project.environment["APP_USER"], f"{site.project.slug}:{site.project.environment['TAG']}"
    disk = tmp_path / "disk.yaml"
    disk.write_text(
        SMALL_DISK.format(
            service=service, folder=folder, image=image, user=user, size=size, uid=user.replace(":", ",gid=")
        ),
        encoding="utf-8",
    )
    site.compose("down")
    site.files.append(str(disk))
    try:
        site.compose("up", "--detach", "holder")
        if service == "database":
            site.compose("run", "--rm", "migrate")
        site.compose("up", "--detach", "--wait")
        with Load(site, 4_000_000, size=20_000) as load:
            until(lambda: len(load.acknowledged) > 50)
            site.compose("exec", "-T", "holder", "sh", "-c", "cat /dev/zero > /disk/filler || true")
            until(lambda: load.answers[-1][0] == 503)
            before = len(load.answers)
            until(lambda: len(load.answers) - before >= 20)
            assert site.status("/livez") == 200
            # Reads still work, except that InnoDB may exit if it has no space to roll back, and restart.
            assert site.status("/ledger/") in {200, 503 if innodb else 200}
            if site.project.database == "postgres":
                # Without space for its write-ahead log, the server exits, and cannot start again.
                change = "SELECT pg_create_restore_point('any'), pg_switch_wal()"
                change = f'for each in $(seq 100); do psql --username app --command "{change}"; done'
                site.compose("exec", "-T", "database", "sh", "-ec", change, fails=True)
                until(lambda: site.status("/ledger/") == 503)
            refused = load.answers[before:]
            site.compose("exec", "-T", "holder", "rm", "/disk/filler")
            until(lambda: {status for status, _ in load.answers[-8:]} == {201})
        # InnoDB may exit before it reports the full disk to the site.
        logs = site.compose("logs", "--no-log-prefix", service if innodb else "web")
        assert re.search("is full|No space left|Out of disk space", logs)
        assert load.acknowledged <= site.numbers()
    finally:
        site.compose("--profile", "migrate", "down", "--volumes", "--timeout", "1")
        site.files.pop()
    assert {status for status, _ in refused} <= {201, 503}
    assert max(seconds for _, seconds in refused) < 30
