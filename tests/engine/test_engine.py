"""The contract of each base image, official or stand-in, that the generated projects rely on."""

from __future__ import annotations

import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.engine import Engine, EngineError, ImageUnavailable, debian, ensure_engine, ensure_image, images
from tests.engine import engine as engine_module

pytestmark = pytest.mark.rotates(seconds=150, touched_by=["tests/engine/*"])

Docker = Callable[..., str]
PASSWORD = "p'w\\d $x"
PLAIN_PASSWORD = "pw d $x"  # MySQL's image does not escape quotes


@pytest.fixture(scope="module")
def docker(engine: Engine) -> Docker:
    """Run a docker command and return its output; AssertionError if it fails, or with `fails` if it succeeds."""

    def call(*arguments: str | Path, fails: bool = False, text: str = "") -> str:
        command = ["docker", *map(str, arguments)]
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, env=engine.env, timeout=240, check=False
        )
        assert (done.returncode != 0) is fails, done.stdout + done.stderr
        return (done.stdout + (done.stderr if fails else "")).strip()

    return call


@pytest.fixture(scope="module")
def server(docker: Docker) -> Iterator[Callable[..., str]]:
    """Start containers, and remove them with their volumes at the end."""
    started: list[str] = []

    def start(image: str, *arguments: str, options: tuple[str, ...] = ()) -> str:
        started.append(f"slipway-{uuid.uuid4().hex[:8]}")
        docker("run", "--detach", "--name", started[-1], *options, image, *arguments)
        return started[-1]

    yield start
    if started:
        docker("rm", "--force", "--volumes", *started)


def eventually(check: Callable[[], object], seconds: float = 300) -> None:
    """Wait until the check no longer fails."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            check()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


# -- The engine ----------------------------------------------------------------------------------------------


def test_a_running_engine_is_found(engine: Engine) -> None:
    """Later callers get the same engine."""
    again = ensure_engine()
    assert not again.started
    assert again.env.get("DOCKER_HOST") == engine.env.get("DOCKER_HOST")


@pytest.mark.parametrize("plugin", ["compose", "buildx"])
def test_the_plugins_answer(docker: Docker, plugin: str) -> None:
    """Compose v2 and buildx come with the engine."""
    assert docker(plugin, "version")


def test_an_unknown_image_is_one_sentence(engine: Engine) -> None:
    """The message names the image and the reason."""
    with pytest.raises(ImageUnavailable, match=r"^The image slipway-no-such-image:1 .+\.$"):
        ensure_image(engine, "slipway-no-such-image:1")


def test_not_debian_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no engine can be set up, the message says why."""
    monkeypatch.setattr(debian, "codename", lambda: "")
    with pytest.raises(EngineError, match=r"not Debian\.$"):
        debian.require_root_on_debian("Setting up an engine")


def test_no_host_name_is_written_down() -> None:
    """Mirrors and indexes come from the machine's own configuration."""
    for path in Path(__file__).parent.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            content = path.read_text(encoding="utf-8")
            assert not any(word in content for word in ("debian" + ".org", "pypi" + ".org", "docker" + ".io/")), path


def test_a_changed_recipe_is_another_stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A stand-in is rebuilt when one of its files changes."""
    folder = tmp_path / "mariadb"
    folder.mkdir()
    monkeypatch.setattr(images, "RECIPES", tmp_path)
    monkeypatch.setattr(images, "_base_fingerprint", lambda suite: suite)
    recipe = images.Recipe("mariadb", "MariaDB", "trixie", ())
    (folder / "Dockerfile").write_text("FROM a", encoding="utf-8")
    before = images._fingerprint(recipe)
    (folder / "Dockerfile").write_text("FROM b", encoding="utf-8")
    assert images._fingerprint(recipe) != before


# -- Python --------------------------------------------------------------------------------------------------

INSPECT = """
import bz2, ctypes, json, lzma, os, readline, shutil, sqlite3, ssl, sys, sysconfig, zoneinfo
assert sqlite3.sqlite_version_info >= (3, 37)
assert sys.prefix == sys.base_prefix == "/usr/local", sys.prefix
assert sysconfig.get_path("purelib") == sys.path[-1] == f"/usr/local/lib/python{version}/site-packages", sys.path
assert os.path.isfile(sysconfig.get_path("include") + "/Python.h")
assert os.path.isfile(sysconfig.get_path("platinclude") + "/pyconfig.h")
assert shutil.which("pip") == "/usr/local/bin/pip"
assert not any(map(shutil.which, ("gcc", "cc", "make", "git"))), "the real image has no compiler"
assert os.getuid() == 0 and os.getcwd() == "/"
assert zoneinfo.ZoneInfo("Europe/Berlin") and ssl.create_default_context().get_ca_certs()
"""
COMPILE = """
FROM python:{version}-slim-trixie AS build
RUN apt-get update -qq \\
    && apt-get install -qq --no-install-recommends gcc libc6-dev pkg-config libmariadb-dev > /dev/null
RUN python -m venv /opt/venv && /opt/venv/bin/pip install -q mysqlclient
FROM python:{version}-slim-trixie
RUN apt-get update -qq && apt-get install -qq --no-install-recommends libmariadb3 > /dev/null
COPY --from=build /opt/venv /opt/venv
RUN /opt/venv/bin/python -c "import MySQLdb"
"""


@pytest.mark.parametrize("version", ["3.12", "3.13", "3.14", "3.15"])
def test_python(engine: Engine, docker: Docker, version: str) -> None:
    """A complete Python below /usr/local, with pip and headers, and no compiler."""
    image = ensure_image(engine, f"python:{version}-slim-trixie").name
    program = INSPECT.replace("{version}", version)
    assert docker("run", "--rm", "--interactive", image, "python", "-", text=program) == ""
    assert docker("run", "--rm", image, "python", "--version").startswith(f"Python {version}.")


def test_python_reuses_bytecode(engine: Engine, docker: Docker) -> None:
    """Only if it has been asked to; and what is reused is the same."""
    image = ensure_image(engine, "python:3.13-slim-trixie").name
    volume = ("--volume", "slipway-engine-test-bytecode:/root/.cache/uv")

    def digest(*first: str) -> str:
        script = "echo 'x = 1' > /m.py; touch -d @0 /m.py; python -m py_compile /m.py; sha256sum /__pycache__/m.*"
        return docker("run", "--rm", *volume, image, "sh", "-ec", "\n".join([*first, script]))

    forge = (
        f"import glob, marshal; marshal.dump(compile('y', '', 'exec'), open(*glob.glob('{images.COMPILED}/*'), 'wb'))"
    )
    try:
        plain = digest()
        assert digest(f"mkdir {images.COMPILED}") == plain
        assert digest() == plain
        assert digest(f'python -c "{forge}"') != plain
    finally:
        docker("volume", "rm", "slipway-engine-test-bytecode")


def test_python_compiles(engine: Engine, docker: Docker) -> None:
    """An extension compiles, and works in the next stage with only its library. (25 s at first, then 2 s.)"""

    def compile_on(version: str) -> str:
        ensure_image(engine, f"python:{version}-slim-trixie")
        tag = f"slipway-engine-test:{version}"
        docker("build", "--quiet", "--tag", tag, "-", text=COMPILE.format(version=version))
        return docker("image", "rm", tag)

    with ThreadPoolExecutor() as pool:
        assert all(pool.map(compile_on, ["3.12", "3.15"]))  # the host's copy or the official one; testing's


# -- PostgreSQL ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def postgres(
    engine: Engine, server: Callable[..., str], docker: Docker, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """A PostgreSQL whose password is in a file, with an argument for the server and two first-boot scripts."""
    image = ensure_image(engine, "postgres:18").name
    folder = tmp_path_factory.mktemp("postgres")
    (folder / "password").write_text(PASSWORD + "\n", encoding="utf-8")
    (folder / "1.sql").write_text("CREATE TABLE seen (name text);", encoding="utf-8")
    (folder / "2.sh").write_text(
        'psql -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "INSERT INTO seen SELECT current_setting(\'listen_addresses\')"',
        encoding="utf-8",
    )
    options = [
        "--env=POSTGRES_USER=app",
        "--env=POSTGRES_DB=my-db",
        "--env=POSTGRES_PASSWORD_FILE=/run/secrets/password",
    ]
    options += [f"--volume={folder}/password:/run/secrets/password:ro"]
    options += [f"--volume={folder}/{name}:/docker-entrypoint-initdb.d/{name}:ro" for name in ("1.sql", "2.sh")]
    name = server(image, "-c", "max_connections=50", options=tuple(options))
    eventually(lambda: docker("exec", name, "pg_isready", "--quiet", "--host=127.0.0.1"))
    return name


def in_postgres(docker: Docker, name: str, sql: str) -> str:
    """Return a query's result, over the Unix socket."""
    return docker("exec", name, "psql", "-U", "app", "-d", "my-db", "-Atc", sql)


def from_another(docker: Docker, name: str, image: str, password: str, *command: str, fails: bool = False) -> str:
    """Run a client in a container of its own, as the web service does."""
    secret = (f"--env=PGPASSWORD={password}", f"--env=MYSQL_PWD={password}")
    address = docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name)
    return docker("run", "--rm", *secret, image, command[0], f"--host={address}", *command[1:], fails=fails)


def test_postgres_first_boot(docker: Docker, postgres: str) -> None:
    """The settings, the argument and the scripts have taken effect; scripts ran before the server listened on TCP."""
    assert in_postgres(docker, postgres, "SHOW max_connections") == "50"
    assert in_postgres(docker, postgres, "SHOW fsync") == "on"
    assert in_postgres(docker, postgres, "SELECT name FROM seen") == ""
    assert (
        in_postgres(docker, postgres, "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'my-db'")
        == "UTF8"
    )


def test_postgres_wants_the_password(docker: Docker, postgres: str) -> None:
    """Another container needs the password, which is the one in the file."""
    query = ("psql", "--username=app", "--dbname=my-db", "-Atc", "SELECT 1")
    assert from_another(docker, postgres, "postgres:18", PASSWORD, *query) == "1"
    assert "authentication failed" in from_another(docker, postgres, "postgres:18", "wrong", *query, fails=True)


def test_postgres_is_process_1_without_rights(docker: Docker, postgres: str) -> None:
    """It gets the stop signal itself, and runs as user 999."""
    assert docker("exec", postgres, "cat", "/proc/1/comm") == "postgres"
    assert docker("exec", postgres, "stat", "--format=%u:%g", "/proc/1") == "999:999"


def test_postgres_stops_well_and_keeps_its_data(docker: Docker, postgres: str) -> None:
    """`docker stop` is a fast shutdown, and the second start finds the data."""
    in_postgres(docker, postgres, "CREATE TABLE kept ()")
    docker("stop", postgres)
    assert docker("inspect", "--format={{.State.ExitCode}}", postgres) == "0"
    docker("start", postgres)
    eventually(lambda: docker("exec", postgres, "pg_isready", "--quiet", "--host=127.0.0.1"))
    assert in_postgres(docker, postgres, "SELECT count(*) FROM kept") == "0"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "POSTGRES_PASSWORD"),
        (("--env=POSTGRES_PASSWORD=a", "--env=POSTGRES_PASSWORD_FILE=/b"), "POSTGRES_PASSWORD_FILE"),
        (("--env=POSTGRES_PASSWORD=a", "--volume=/var/lib/postgresql/data"), "/var/lib/postgresql/data"),
    ],
)
def test_postgres_refuses(docker: Docker, postgres: str, options: tuple[str, ...], message: str) -> None:
    """The start fails with a reason: no password, two passwords, or a volume where version 18 does not look."""
    assert postgres
    assert message in docker("run", "--rm", *options, "postgres:18", fails=True)


def test_postgres_as_any_user(docker: Docker, server: Callable[..., str], postgres: str) -> None:
    """A user id without a name is enough, and `trust` needs no password."""
    assert postgres
    name = server("postgres:18", options=("--user=12345:12345", "--env=POSTGRES_HOST_AUTH_METHOD=trust"))
    eventually(lambda: docker("exec", name, "pg_isready", "--quiet", "--host=127.0.0.1", "--username=postgres"))
    query = ("psql", "--username=postgres", "-Atc", "SELECT 1")
    assert from_another(docker, name, "postgres:18", "", *query) == "1"


# -- MariaDB -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mariadb(
    engine: Engine, server: Callable[..., str], docker: Docker, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """A MariaDB with both spellings of the settings, a password in a file, an argument, and a first-boot script."""
    image = ensure_image(engine, "mariadb:11.8").name
    folder = tmp_path_factory.mktemp("mariadb")
    (folder / "password").write_text(PASSWORD + "\n", encoding="utf-8")
    (folder / "1.sql").write_text("CREATE TABLE seen AS SELECT @@skip_networking AS name;", encoding="utf-8")
    options = ["--env=MARIADB_ROOT_PASSWORD=root", "--env=MYSQL_USER=app", "--env=MARIADB_DATABASE=my_db"]
    options += [
        "--env=MARIADB_PASSWORD_FILE=/run/secrets/password",
        f"--volume={folder}/password:/run/secrets/password:ro",
    ]
    options += [f"--volume={folder}/1.sql:/docker-entrypoint-initdb.d/1.sql:ro"]
    name = server(image, "--max-connections=50", options=tuple(options))
    eventually(lambda: docker("exec", name, "healthcheck.sh", "--connect", "--innodb_initialized"))
    return name


def in_mariadb(docker: Docker, name: str, sql: str) -> str:
    """Return a query's result, as root."""
    return docker(
        "exec", name, "mariadb", "--user=root", "--password=root", "--batch", "--skip-column-names", "--execute", sql
    )


def test_mariadb_first_boot(docker: Docker, mariadb: str) -> None:
    """The argument, the script and the time zones have taken effect; scripts ran before the server listened on TCP."""
    assert in_mariadb(docker, mariadb, "SELECT @@max_connections") == "50"
    assert in_mariadb(docker, mariadb, "SELECT name FROM my_db.seen") == "1"
    assert (
        in_mariadb(docker, mariadb, "SELECT CONVERT_TZ('2026-07-01 12:00:00', 'UTC', 'Europe/Berlin')")
        == "2026-07-01 14:00:00"
    )
    assert (
        in_mariadb(docker, mariadb, "SELECT COUNT(*) FROM mysql.user WHERE host = '127.0.0.1' AND user = 'root'") == "0"
    )


def test_mariadb_user_has_its_database_alone(docker: Docker, mariadb: str) -> None:
    """The user has all rights in its database and none in others, not even in one that `_` would match."""
    as_user = ("mariadb", "--user=app", "--batch", "--skip-column-names", "--execute")
    assert (
        from_another(docker, mariadb, "mariadb:11.8", PASSWORD, *as_user, "CREATE TABLE my_db.t (i int); SELECT 1")
        == "1"
    )
    for name in ("test_my_db", "myxdb"):
        assert "denied" in from_another(
            docker, mariadb, "mariadb:11.8", PASSWORD, *as_user, f"CREATE DATABASE {name}", fails=True
        )
    assert "denied" in from_another(docker, mariadb, "mariadb:11.8", "wrong", *as_user, "SELECT 1", fails=True)


def test_mariadb_is_process_1_without_rights(docker: Docker, mariadb: str) -> None:
    """It gets the stop signal itself, and runs as user 999."""
    assert docker("exec", mariadb, "cat", "/proc/1/comm") == "mariadbd"
    assert docker("exec", mariadb, "stat", "--format=%u:%g", "/proc/1") == "999:999"


def test_mariadb_stops_well_and_keeps_its_data(docker: Docker, mariadb: str) -> None:
    """The second start finds the data."""
    in_mariadb(docker, mariadb, "CREATE TABLE my_db.kept (i int)")
    docker("stop", mariadb)
    assert docker("inspect", "--format={{.State.ExitCode}}", mariadb) == "0"
    docker("start", mariadb)
    eventually(lambda: docker("exec", mariadb, "healthcheck.sh", "--connect"))
    assert in_mariadb(docker, mariadb, "SELECT COUNT(*) FROM my_db.kept") == "0"


@pytest.mark.parametrize(
    ("options", "message"),
    [((), "MARIADB_ROOT_PASSWORD"), (("--env=MYSQL_ROOT_PASSWORD=a", "--env=MYSQL_ROOT_PASSWORD_FILE=/b"), "exclu")],
)
def test_mariadb_refuses(docker: Docker, mariadb: str, options: tuple[str, ...], message: str) -> None:
    """The start fails with a reason: no password, or two."""
    assert mariadb
    assert message in docker("run", "--rm", *options, "mariadb:11.8", fails=True)


# -- MySQL ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mysql(engine: Engine, server: Callable[..., str], docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A MySQL with a password in a file, an argument, and a first-boot script."""
    image = ensure_image(engine, "mysql:9.7").name
    folder = tmp_path_factory.mktemp("mysql")
    (folder / "password").write_text(PLAIN_PASSWORD + "\n", encoding="utf-8")
    (folder / "1.sql").write_text("CREATE TABLE seen AS SELECT @@skip_networking AS name;", encoding="utf-8")
    options = ["--env=MYSQL_ROOT_PASSWORD=root", "--env=MYSQL_USER=app", "--env=MYSQL_DATABASE=my_db"]
    options += [
        "--env=MYSQL_PASSWORD_FILE=/run/secrets/password",
        f"--volume={folder}/password:/run/secrets/password:ro",
    ]
    options += [f"--volume={folder}/1.sql:/docker-entrypoint-initdb.d/1.sql:ro"]
    name = server(image, "--max-connections=50", options=tuple(options))
    eventually(lambda: in_mysql(docker, name, "SELECT 1"))
    return name


def in_mysql(docker: Docker, name: str, sql: str) -> str:
    """Return a query's result, as root, over TCP: the first boot's temporary server answers on the socket only."""
    command = ("mysql", "--host=127.0.0.1", "--user=root", "--batch", "--skip-column-names", "--execute", sql)
    return docker("exec", "--env=MYSQL_PWD=root", name, *command)


def test_mysql_first_boot(docker: Docker, mysql: str) -> None:
    """The argument, the script and the time zones have taken effect; scripts ran before the server listened on TCP."""
    assert in_mysql(docker, mysql, "SELECT @@max_connections") == "50"
    assert in_mysql(docker, mysql, "SELECT name FROM my_db.seen") == "1"
    assert (
        in_mysql(docker, mysql, "SELECT CONVERT_TZ('2026-07-01 12:00:00', 'UTC', 'Europe/Berlin')")
        == "2026-07-01 14:00:00"
    )
    accounts = in_mysql(
        docker, mysql, "SELECT user, host, plugin FROM mysql.user WHERE user NOT LIKE 'mysql.%' ORDER BY 1, 2"
    )
    assert [line.split("\t") for line in accounts.splitlines()] == [
        ["app", "%", "caching_sha2_password"],
        ["root", "%", "caching_sha2_password"],
        ["root", "localhost", "caching_sha2_password"],
    ]


def test_mysql_user_has_its_database_alone(docker: Docker, mysql: str) -> None:
    """The user has all rights in its database and none in others, not even in one that `_` would match."""
    as_user = ("mysql", "--user=app", "--batch", "--skip-column-names", "--execute")
    made = "CREATE TABLE my_db.t (i int); SELECT 1"
    assert from_another(docker, mysql, "mysql:9.7", PLAIN_PASSWORD, *as_user, made) == "1"
    for name in ("test_my_db", "myxdb"):
        sql = f"CREATE DATABASE {name}"
        assert "denied" in from_another(docker, mysql, "mysql:9.7", PLAIN_PASSWORD, *as_user, sql, fails=True)
    assert "denied" in from_another(docker, mysql, "mysql:9.7", "wrong", *as_user, "SELECT 1", fails=True)


def test_mysql_is_process_1_without_rights(docker: Docker, mysql: str) -> None:
    """It gets the stop signal itself, and runs as user 999."""
    assert docker("exec", mysql, "cat", "/proc/1/comm") == "mysqld"
    assert docker("exec", mysql, "stat", "--format=%u:%g", "/proc/1") == "999:999"
    docker("exec", mysql, "sh", "-c", "command -v mysql mysqladmin mysqldump")


def test_mysql_stops_well_and_keeps_its_data(docker: Docker, mysql: str) -> None:
    """The second start finds the data."""
    in_mysql(docker, mysql, "CREATE TABLE my_db.kept (i int)")
    docker("stop", mysql)
    assert docker("inspect", "--format={{.State.ExitCode}}", mysql) == "0"
    docker("start", mysql)
    eventually(lambda: in_mysql(docker, mysql, "SELECT COUNT(*) FROM my_db.kept"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "MYSQL_ROOT_PASSWORD"),
        (("--env=MYSQL_ROOT_PASSWORD=a", "--env=MYSQL_ROOT_PASSWORD_FILE=/b"), "exclusive"),
        (("--env=MYSQL_ROOT_PASSWORD=a", "--env=MYSQL_USER=root"), "MYSQL_USER"),
    ],
)
def test_mysql_refuses(docker: Docker, mysql: str, options: tuple[str, ...], message: str) -> None:
    """The start fails with a reason: no password, two passwords, or root as the user."""
    assert mysql
    assert message in docker("run", "--rm", *options, "mysql:9.7", fails=True)


def test_mysql_as_any_user(docker: Docker, server: Callable[..., str], mysql: str, tmp_path: Path) -> None:
    """It runs as a user id without a name, on a read-only root, with a folder of that user and no capabilities."""
    assert mysql
    tmp_path.chmod(0o700)
    subprocess.run(["chown", "12345:12345", tmp_path], check=True)
    options = ["--user=12345:12345", "--read-only", "--tmpfs=/tmp", "--tmpfs=/var/run/mysqld", "--cap-drop=ALL"]
    options += [f"--volume={tmp_path}:/var/lib/mysql", "--env=MYSQL_USER=app", "--env=MYSQL_PASSWORD=app"]
    name = server("mysql:9.7", "mysqld", options=(*options, "--env=MYSQL_RANDOM_ROOT_PASSWORD=1"))
    client = ("mysql", "--host=127.0.0.1", "--user=app", "--execute=SELECT 1")
    eventually(lambda: docker("exec", "--env=MYSQL_PWD=app", name, *client))
    assert "GENERATED ROOT PASSWORD: " in docker("logs", name)
    assert {path.stat().st_uid for path in tmp_path.iterdir()} == {12345}


def test_mysql_lets_a_client_without_tls_in(docker: Docker, mysql: str) -> None:
    """The first login of an account needs TLS or the public key, which the server hands out."""
    in_mysql(docker, mysql, "FLUSH PRIVILEGES")  # the server forgets earlier logins
    plain = ("mysql", "--user=app", "--ssl-mode=DISABLED", "--batch", "--skip-column-names", "--execute", "SELECT 1")
    assert "secure connection" in from_another(docker, mysql, "mysql:9.7", PLAIN_PASSWORD, *plain, fails=True)
    ask = (*plain[:3], "--get-server-public-key", *plain[3:])
    assert from_another(docker, mysql, "mysql:9.7", PLAIN_PASSWORD, *ask) == "1"
    assert from_another(docker, mysql, "mysql:9.7", PLAIN_PASSWORD, *plain) == "1"


# -- The others ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("image", ["redis:8", "valkey/valkey:8"])
def test_redis(engine: Engine, docker: Docker, server: Callable[..., str], image: str) -> None:
    """It is an unprivileged PID 1, reachable from other containers, and takes arguments; data survives a restart."""
    name = server(ensure_image(engine, image).name, "--appendonly", "yes")
    eventually(lambda: docker("exec", name, "redis-cli", "SET", "kept", "yes"))
    assert docker("exec", name, "stat", "--format=%u:%g", "/proc/1") == "999:999"
    assert docker("exec", name, "cat", "/proc/1/comm").endswith("-server")
    address = docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name)
    assert docker("run", "--rm", image, "redis-cli", "-h", address, "GET", "kept") == "yes"
    docker("restart", name)
    eventually(lambda: docker("exec", name, "redis-cli", "PING"))
    assert docker("exec", name, "redis-cli", "GET", "kept") == "yes"
    assert docker("exec", name, "pwd") == "/data"


def test_caddy(engine: Engine, docker: Docker, server: Callable[..., str]) -> None:
    """It serves its page on port 80, and its own command starts it."""
    name = server(ensure_image(engine, "caddy:2").name)
    eventually(lambda: docker("exec", name, "wget", "-q", "-O", "-", "http://127.0.0.1:80/"))
    assert docker("exec", name, "cat", "/proc/1/comm") == "caddy"


@pytest.mark.parametrize(
    ("before", "after", "prunes", "warns"), [(40, 40, False, False), (3, 30, True, False), (3, 4, True, True)]
)
def test_a_nearly_full_disk_costs_the_older_layers(
    before: int,
    after: int,
    prunes: bool,
    warns: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    called: list[tuple[object, ...]] = []
    free = {False: before, True: after}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(engine_module, "run", lambda *command, **_: called.append(command))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free[bool(called)] * 1e9))
    engine_module.make_room(engine_module.Layout())
    assert [command[1:3] for command in called] == [("buildx", "prune")] * prunes
    said = capsys.readouterr().err
    assert ("older half" in said, "delete what you can spare" in said) == (prunes, warns)


def test_registry(engine: Engine, docker: Docker, server: Callable[..., str]) -> None:
    """A pushed image can be pulled."""
    name = server(ensure_image(engine, "registry:2").name, options=("--publish=127.0.0.1::5000",))
    address = docker("port", name, "5000/tcp").splitlines()[0]
    image = f"{address}/test:1"
    docker("build", "--quiet", "--tag", image, "-", text="FROM scratch\nLABEL slipway.test=1\nENV A=1\nWORKDIR /a\n")
    eventually(lambda: docker("push", "--quiet", image))
    docker("image", "rm", image)
    docker("pull", "--quiet", image)
    docker("image", "rm", image)
