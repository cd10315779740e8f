"""A team's day: the README's instructions, followed in two projects that differ in every answer."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pexpect
import pytest
from pip._internal.models.index import PyPI
from pytest_copie.plugin import Copie

from tests.engine import Engine, ensure_image
from tests.support import matrix
from tests.support.day import create_account, terminal, write_app
from tests.support.debugger import Debugger
from tests.support.index import Index, certificates
from tests.support.matrix import Combination
from tests.support.project import (
    PATIENCE,
    Answer,
    CommandError,
    Project,
    clean_up,
    get,
    make_project,
    reinstalling,
    until,
)
from tests.support.recipes import follow
from tests.support.rendered import tool
from tests.support.workflows import workflow

pytestmark = pytest.mark.rotates(
    seconds=280,
    touched_by=[
        "docs/recipes.md",
        "template/AGENTS.md",
        "template/Makefile.jinja",
        "template/README.md.jinja",
        "template/compose.yaml.jinja",
        "template/ops/management/commands/startapp.py",
        "template/ops/testing.py.jinja",
        "template/scripts/dev.sh",
        "template/scripts/doctor.sh",
    ],
)

CANARY = "canary-5d1e8c"
KEY = "a-secret-key-of-fifty-characters-for-this-test-012"


def opposite() -> Combination:
    """Return the first combination that differs from the default one in every answer."""
    default = matrix.default_combination().answers
    return next(each for each in matrix.combinations() if all(each.answers[name] != default[name] for name in default))


@pytest.fixture(scope="module", params=["default", "opposite"])
def team(request: pytest.FixtureRequest, copie_session: Copie, engine: Engine) -> Iterator[Project]:
    """A running project, which the tests change step by step."""
    combination = matrix.default_combination() if request.param == "default" else opposite()
    project = make_project(copie_session, engine, Combination(f"slipway-team-{request.param}", combination.answers))
    run_listed(project, "docker compose up --build --detach --wait")
    yield project
    clean_up(project)


def eventually(answer: Callable[[], Answer], wanted: Callable[[Answer], bool], seconds: float = PATIENCE) -> Answer:
    """Repeat a request until the answer is as wanted; AssertionError with the last one if it never is."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            last: Answer | OSError = answer()
            if isinstance(last, Answer) and wanted(last):
                return last
        except OSError as error:
            last = error
        assert time.monotonic() < deadline, last
        time.sleep(0.1)


def test_an_edit_is_served_at_once(team: Project) -> None:
    site = team.address(team.container("web"))
    team.edit("templates/home.html", "The site is up and running.", "Edited template.")
    eventually(lambda: get(f"{site}/"), lambda answer: "Edited template." in answer.text, 10)
    team.edit("config/settings.py", 'SITE_NAME = "', 'SITE_NAME = "Edited ')
    eventually(lambda: get(f"{site}/"), lambda answer: "<h1>Edited " in answer.text)


def test_a_workers_edit_is_taken_up(team: Project) -> None:
    if not team.combination.answers["use_celery"]:
        assert "worker" not in team.compose("config", "--services").split()
        return
    site = team.address(team.container("web"))
    ada = team.sign_in("eve")
    team.edit("accounts/tasks.py", "    return {field", '    return {"edited": "yes"} | {field')

    def export() -> Answer:
        sent = json.loads(get(f"{site}/exports/", ada, method="POST").text)
        return eventually(lambda: get(f"{site}/exports/{sent['id']}/", ada), lambda answer: "SUCCESS" in answer.text)

    eventually(export, lambda answer: "edited" in answer.text)
    team.edit("accounts/tasks.py", '{"edited": "yes"} | ', "")


def test_only_this_machine_can_reach_it(team: Project) -> None:
    for container in team.compose("ps", "--quiet").split():
        for bindings in team.inspect(container)["NetworkSettings"]["Ports"].values():
            assert all(each["HostIp"] == "127.0.0.1" for each in bindings or [])


def owner(team: Project) -> int:
    """Return the user id of a project's owner."""
    return (team.path / "manage.py").stat().st_uid


def listed(team: Project) -> list[str]:
    """Return the commands in AGENTS.md."""
    return blocks(team.path / "AGENTS.md")[0].splitlines()


RUN: set[tuple[str, str]] = set()


def run_listed(team: Project, command: str) -> str:
    """Run a command as it stands in AGENTS.md, and return its output."""
    assert command in listed(team)
    RUN.add((team.slug, command))
    return team.run("sh", "-ec", command)


def shell(team: Project, code: str) -> str:
    """Run Python in the site's container, with Django loaded, and return its output."""
    return team.compose("exec", "-T", "web", "python", "manage.py", "shell", "-v", "0", "--no-imports", "-c", code)


def test_example_data(team: Project) -> None:
    for _ in range(2):
        run_listed(team, "make seed")
    code = "from accounts.models import User; users = User.objects.filter(username__startswith='example-'); "
    assert shell(team, code + "print(len(users), *{each.has_usable_password() for each in users})") == "3 False\n"


def test_a_translated_language(team: Project) -> None:
    site = team.address(team.container("web"))
    collect, compile_ = follow(team, "A translated language")
    team.run("sh", "-ec", collect)
    texts = team.path / "locale" / "de" / "LC_MESSAGES" / "django.po"
    assert {path.stat().st_uid for path in (team.path / "locale").rglob("*")} == {owner(team)}
    untranslated = 'msgid "Have a good day."\nmsgstr ""'
    team.edit(str(texts.relative_to(team.path)), untranslated, untranslated[:-1] + 'Schönen Tag!"')
    team.run("sh", "-ec", compile_)

    def german() -> Answer:
        return get(f"{site}/", {"Accept-Language": "de"})

    assert '<html lang="de">' in eventually(german, lambda answer: "<p>Schönen Tag!</p>" in answer.text).text
    english = get(f"{site}/", {"Accept-Language": "fr"}).text
    assert '<html lang="en">' in english
    assert "<p>Have a good day.</p>" in english


IN_TOKYO = """
from datetime import UTC, datetime
from accounts.models import User
from django.test import Client
moment = datetime(2026, 1, 1, 12, tzinfo=UTC)
for zone in ("Asia/Tokyo", ""):
    user = User(username=f"in-{zone}", is_staff=True, is_superuser=True, date_joined=moment, time_zone=zone)
    user.save()
    client = Client()
    client.force_login(user)
    page = client.get(f"/admin/accounts/user/{user.pk}/change/", headers={"host": "localhost"}).text
    print('value="21:00:00"' in page, 'value="12:00:00"' in page)
    user.delete()
"""


def test_time_zones_by_the_user(team: Project) -> None:
    for command in follow(team, "Time zones by the user"):
        run_listed(team, command)
    said = shell(team, IN_TOKYO).splitlines()  # with the log of its requests
    assert [line for line in said if line.startswith(("True", "False"))] == ["True False", "False True"]


def with_uv(team: Project) -> tuple[str, str, str]:
    """Return the beginning of a command that finds uv and uvx, and that trusts what this machine trusts."""
    return ("env", f"PATH={Path(tool('uvx')).parent}:{team.engine.env['PATH']}", "UV_SYSTEM_CERTS=1")


USE_CLIENT = """
import sys
from site_client import AuthenticatedClient
from site_client.api.users import users_list
client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2], prefix="Token")
users = users_list.sync(client=client, search="example", ordering="-username")
print(*[user.username for user in users.results])
"""


def test_a_client_of_the_api(team: Project) -> None:
    if not team.combination.answers["use_drf"]:
        return
    describe, generate = follow(team, "A client of the API")
    team.run("sh", "-ec", describe)
    team.run(*with_uv(team), "sh", "-ec", generate)
    made = team.path.parent / "client"
    token = team.sign_in("client")["Authorization"].split()[1]
    shell(team, "from accounts.models import User; User.objects.filter(username='client').update(is_superuser=True)")
    uv = (*with_uv(team), "uv", "run", "--quiet", "--no-project", "--with", str(made))
    said = team.run(*uv, "python", "-c", USE_CLIENT, team.address(team.container("web")), token)
    assert said == "example-jose example-grace example-ada\n"
    step = next(each["run"] for each in workflow(team.path, "ci.yml")["jobs"]["check"]["steps"] if "API" in str(each))
    team.run("git", "add", "openapi.yaml")
    team.run("sh", "-ec", step)
    team.edit(
        "accounts/api.py", '"email", "first_name", "last_name")\n        read_only', '"email")\n        read_only'
    )
    assert "-        last_name:" in team.run("sh", "-ec", step, fails=True)
    team.edit(
        "accounts/api.py", '"email")\n        read_only', '"email", "first_name", "last_name")\n        read_only'
    )
    team.run("git", "rm", "--quiet", "--force", "openapi.yaml")


def test_mail_is_read_in_a_browser(team: Project) -> None:
    image = next(name for name in team.compose("--profile", "mail", "config", "--images").split() if "mailpit" in name)
    ensure_image(team.engine, image)  # a stand-in where it cannot be pulled
    lines = "COMPOSE_PROFILES=mail\nEMAIL_URL=smtp://mailpit:1025\n"
    assert set(lines.split()) <= set(re.findall(r"[A-Z_]+=[\w:/]+", (team.path / "README.md").read_text("utf-8")))
    (team.path / ".env").write_text(lines + "MAIL_PORT=0\n", encoding="utf-8")
    try:
        team.compose("up", "--detach", "--wait")
        team.compose("exec", "-T", "web", "python", "manage.py", "sendtestemail", "ada@example.com")
        page = f"http://{team.compose('port', 'mailpit', '8025').strip()}/api/v1/messages"
        (message,) = json.loads(eventually(lambda: get(page), lambda answer: "ada@" in answer.text).text)["messages"]
        assert [each["Address"] for each in message["To"]] == ["ada@example.com"]
        team.compose("rm", "--stop", "--force", "mailpit")
    finally:
        (team.path / ".env").unlink()
    team.compose("up", "--detach", "--wait")
    assert "mailpit" not in team.compose("ps", "--all", "--services").split()


def test_what_is_wrong_is_said(team: Project) -> None:
    assert run_listed(team, "make doctor") == "Nothing is wrong with this machine or checkout.\n"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        (team.path / ".env").write_text("DATABSE_URL=sqlite:///x\nLOG_LEVEL=DEBUG\n", encoding="utf-8")
        before = team.environment.copy()
        team.environment["PORT"] = str(port)
        try:
            said = team.run("make", "doctor", fails=True)
        finally:
            team.environment = before
            (team.path / ".env").unlink()
    assert f"- Another program uses port {port}: " in said
    assert "- .env sets DATABSE_URL, which .env.example does not list: " in said
    assert len(said.splitlines()) == 3, said


def test_a_new_app(team: Project) -> None:
    run_listed(team, "make startapp NAME=blog")
    assert {path.stat().st_uid for path in (team.path / "blog").rglob("*")} == {owner(team)}
    write_app(team)
    forgotten = team.run("make", "test", fails=True)
    assert "ERROR: models have changed in blog: run `make makemigrations`." in forgotten
    assert len(forgotten.split("\n")) < 6, "pages, not a line"
    run_listed(team, "make makemigrations")
    migration = team.path / "blog" / "migrations" / "0001_initial.py"
    assert migration.stat().st_uid == owner(team)
    assert "- The site is not ready: database: migrations are missing" in team.run("make", "doctor", fails=True)
    run_listed(team, "make migrate")
    assert "blog/tests.py ." in run_listed(team, "make test")
    assert "1 passed" in run_listed(team, 'make test ARGS="blog -k post"')
    assert re.search(r"(?m)^TOTAL ", team.run("make", "coverage", "ARGS=tests/test_health.py"))
    run_listed(team, "make format")
    run_listed(team, "make lint")
    team.run("make", "build")
    files = team.docker("run", "--rm", team.slug, "find", "/app").split()
    assert {"/app/blog/models.py", "/app/locale/de/LC_MESSAGES/django.mo"} <= set(files)


def test_a_forgotten_line_is_said(team: Project) -> None:
    team.edit(".dockerignore", "!blog\n", "")
    said = team.run("make", "test", "ARGS=tests/test_project.py", fails=True)
    assert "not in the image: add to .dockerignore, a line each, !blog" in said
    team.edit(".dockerignore", "!accounts\n", "!accounts\n!blog\n")


def test_lint_runs_all_its_tools(team: Project) -> None:
    path = team.path / "blog" / "views.py"
    path.write_text("import os\nx : int = 'ship'\n", encoding="utf-8")
    team.run("chown", f"{owner(team)}", str(path))
    said = team.run("make", "lint", fails=True)
    assert "F401" in said
    assert "would be reformatted" in said
    assert "Incompatible types" in said
    team.run("make", "format")
    assert path.read_text(encoding="utf-8") == 'x: int = "ship"\n'
    path.unlink()


def test_what_it_writes_belongs_to_the_owner_of_the_folder(team: Project) -> None:
    """By make or by Compose alone, in a container that runs or in a new one; the data moves along with the folder."""
    usual = owner(team)
    services = {"web", "worker", "beat"} & set(team.compose("config", "--services").split())
    lists = {team.path / name: (team.path / name).read_text() for name in ("config/settings.py", ".dockerignore")}
    for uid in (1001, 0, usual) if os.getuid() == 0 else (usual,):
        if uid != owner(team):
            team.run("chown", "--recursive", f"{uid}:{uid}", ".")
        team.run("docker", "compose", "run", "--rm", "web", "python", "manage.py", "startapp", "one")
        team.compose("restart", "--timeout", "5", *services)
        team.wait_answering(team.container("web"))
        team.compose("exec", "-T", "web", "python", "manage.py", "startapp", "two")
        team.run("make", "startapp", "NAME=three")
        for name in ("one", "two", "three"):
            assert {path.stat().st_uid for path in (team.path / name).rglob("*")} == {uid}, name
        code = f"from accounts.models import User; User.objects.create_user('user-{uid}'); print(User.objects.count())"
        assert team.run("make", "--silent", "manage", f'ARGS=shell --no-imports -c "{code}"').strip().isdigit()
        # Beat's files come and go.
        strangers = f"find /data ! -user {uid} 2> /dev/null || true"
        assert team.compose("exec", "-T", "web", "sh", "-c", strangers) == ""
        for path, text in lists.items():
            path.write_text(text, encoding="utf-8")
        team.run("rm", "-r", "one", "two", "three")


def test_variables_in_a_file_are_used(team: Project) -> None:
    url = "sqlite:////tmp/other.sqlite3" if team.database == "sqlite" else urls(team)["DATABASE_URL"] + "?from=.env"
    (team.path / ".env").write_text(f"DATABASE_URL={url}\r\nDEBUG=0\r\n", encoding="utf-8", newline="")
    try:
        said = team.compose("run", "--rm", "--no-deps", "web", "env")
        assert f"DATABASE_URL={url}\n" in said
        assert "DEBUG=0\n" in said
    finally:
        (team.path / ".env").unlink()


def test_an_account_is_made_at_the_prompt(team: Project) -> None:
    create_account(team, "ada")


def test_a_debugger_can_attach(team: Project) -> None:
    site = team.address(team.container("web"))
    views = team.path / "config" / "views.py"
    before = views.read_text(encoding="utf-8")
    try:
        # Wait for the reload, which the name on the page shows, before attaching: it would cut the connection.
        team.edit("config/views.py", '"site_name": settings.SITE_NAME', '"site_name": "Reloaded"')
        team.edit("config/views.py", '    """Redirect', '    breakpoint()\n    """Redirect')
        eventually(lambda: get(f"{site}/"), lambda answer: "<h1>Reloaded</h1>" in answer.text)
        answers: list[Answer] = []
        asker = threading.Thread(
            target=lambda: answers.append(get(f"{site}/favicon.ico", timeout=PATIENCE)), daemon=True
        )
        child = terminal(team, "docker", "compose", "attach", "web")
        time.sleep(3)  # it prints nothing once it is attached
        asker.start()
        child.expect(r"\(Pdb\)")
        child.sendline("p request.path")
        child.expect("'/favicon.ico'")
        child.sendline("continue")
        asker.join(PATIENCE)
        child.sendcontrol("p")
        child.sendcontrol("q")
        child.close(force=True)
    finally:
        views.write_text(before, encoding="utf-8")
    assert [answer.status for answer in answers] == [302]
    eventually(lambda: get(f"{site}/"), lambda answer: "<h1>Reloaded</h1>" not in answer.text)


# Each reads before it writes in a transaction: with SQLite's default, a deferred one, that would fail.
WRITERS = """
import threading
from accounts.models import User
from django.db import connection, transaction

def write(writer):
    for number in range(50):
        with transaction.atomic():
            User.objects.count()
            User.objects.create(username=f"writer-{writer}-{number}")
    connection.close()

threads = [threading.Thread(target=write, args=[writer]) for writer in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(User.objects.filter(username__startswith="writer-").delete()[0])
"""


def test_four_writers_wait_for_their_turn(team: Project) -> None:
    said = team.compose("exec", "-T", "web", "python", "manage.py", "shell", "--no-imports", "-c", WRITERS)
    assert said.strip() == "200"
    if team.database == "sqlite":
        code = "from ops.sqlite_lock import journal_mode; from django.db import connection as c; "
        code += "print(journal_mode(), *c.cursor().execute('PRAGMA journal_mode').fetchone())"
        modes = team.compose("exec", "-T", "web", "python", "manage.py", "shell", "-v", "0", "-c", code).lower().split()
        assert modes[0] == modes[1]


def test_a_folder_named_venv_changes_nothing(team: Project) -> None:
    bogus = team.path / ".venv" / "bin"
    bogus.mkdir(parents=True)
    (bogus / "python").write_text("#!/bin/sh\nexit 99\n", encoding="utf-8")
    (bogus / "python").chmod(0o755)
    assert "passed" in team.run("make", "test")


def test_a_new_dependency(team: Project) -> None:
    for lock in ("requirements.txt", "requirements-dev.txt"):
        assert "humanize" not in (team.path / lock).read_text(encoding="utf-8")
    team.edit("pyproject.toml", "dependencies = [\n", 'dependencies = [\n  "humanize>=4,<4.12",\n')
    with pytest.raises(CommandError, match=r"requirements.txt does not fit pyproject.toml: run `make lock`"):
        team.run("make", "build")
    assert re.fullmatch(r"humanize none -> \S+\n", run_listed(team, "make lock"))
    older = (team.path / "requirements.txt").read_text(encoding="utf-8")
    team.edit("pyproject.toml", '"humanize>=4,<4.12"', '"humanize>=4"')
    assert re.search(r"humanize \S+ -> ", team.run("make", "upgrade", "PKG=humanize"))
    if team.combination.answers["multi_stage"]:  # a single stage installs one of the two files
        newer = (team.path / "requirements.txt").read_text(encoding="utf-8")
        (team.path / "requirements.txt").write_text(older, encoding="utf-8")
        said = team.run("docker", "compose", "build", fails=True)
        assert "requirements-dev.txt has other versions than requirements.txt: run `make lock`" in said
        (team.path / "requirements.txt").write_text(newer, encoding="utf-8")
    for lock in ("requirements.txt", "requirements-dev.txt"):
        assert "humanize==" in (team.path / lock).read_text(encoding="utf-8")
        assert (team.path / lock).stat().st_uid == owner(team)
    assert "ERROR: humanize>=4: not in the image. Run `make lock`, then" in team.run("make", "test", fails=True)
    assert "humanize" not in (team.path / "requirements-build.txt").read_text(encoding="utf-8")
    team.run("make", "build")
    team.docker("run", "--rm", team.slug, "python", "-c", "import humanize")
    team.edit("requirements.txt", "humanize==", "humanize==999.")
    with pytest.raises(CommandError, match=r"Installing \S+ failed: the lock is outdated: run `make lock`"):
        team.run("make", "build")
    team.edit("requirements.txt", "humanize==999.", "humanize==")


def test_every_commit_is_checked(team: Project) -> None:
    team.run(tool("pre-commit"), "run", "--all-files")
    path = team.path / "config" / "untidy.py"
    path.write_text("import os\nx = {  'a':1 }\n", encoding="utf-8")
    (team.path / "notes.txt").write_text("<<<<<<< ours\n", encoding="utf-8")
    team.run("git", "add", "config/untidy.py", "notes.txt")
    complaint = team.run(*with_uv(team), "uvx", "prek", "run", fails=True)
    assert re.search(r"ruff check\.+Failed", complaint)
    assert re.search(r"no conflict markers\.+Failed", complaint)
    team.run("git", "rm", "--quiet", "--force", "config/untidy.py", "notes.txt")
    # Both put unstaged changes aside and back; here, their user is not always the project's.
    team.run("sh", "-c", "git ls-files --modified | xargs chown --reference=manage.py")


def test_the_other_targets(team: Project) -> None:
    assert "web" in team.run("docker", "compose", "logs", "--tail", "5")
    shell = terminal(team, "make", "shell")
    shell.expect(">>>")
    shell.sendline("print(User.objects.filter(username='ada').count() + 41)")
    shell.expect("42")
    shell.expect(">>>")  # an end of input that comes before the prompt is lost
    shell.sendeof()
    shell.expect(pexpect.EOF)
    shell = terminal(team, "make", "dbshell")
    shell.expect(r"sqlite>|app=#|mysql>|\[app\]>")
    shell.sendline("SELECT 6 * 7;")
    shell.expect("42")
    shell.sendeof()
    shell.expect(pexpect.EOF)
    for command in listed(team)[:-1]:
        if (team.slug, command) not in RUN:
            run_listed(team, command)
    run_listed(team, "make down")
    assert team.compose("ps", "--quiet") == ""
    team.compose("up", "--detach", "--wait")
    data = team.compose(
        "exec", "-T", "web", "python", "manage.py", "shell", "-c", "print(User.objects.filter(username='ada').count())"
    )
    assert data.strip().endswith("1"), "`make down` removed the data"


def blocks(readme: Path) -> list[str]:
    """Return the blocks of shell commands in a README."""
    return re.findall(r"```sh\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)


def started(team: Project, container: str) -> bool:
    """Return whether a worker or beat has logged that it is running."""
    return bool(re.search(r" ready\.|beat: Starting", team.run("sh", "-c", f"docker logs {container} 2>&1")))


def urls(team: Project) -> dict[str, str]:
    """Return the URLs of the servers in development: variable -> URL."""
    return dict(re.findall(r"(\w+_URL): (\S+)", team.compose("config")))


def test_the_readme_takes_it_to_production(team: Project) -> None:
    """The production block works verbatim, except for names and ports that may be in use on this machine."""
    start, make, deploy, operate, production, backup, elsewhere, *moves, update = blocks(team.path / "README.md")
    assert deploy.splitlines()[-1] == "make deploy"  # test_production does it
    assert "make prod-createsuperuser" in operate  # test_swarm and test_kubernetes
    assert "make restore" in backup  # test_backup
    assert "make backups" in elsewhere  # test_offsite
    assert len(moves) == (team.database != "sqlite")  # to another major version: test_older_data
    assert "copier update --defaults" in update  # test_update
    assert start == "docker compose up\n"
    assert "make test" in make
    names: list[str] = []
    script = production.replace("--publish 127.0.0.1:8000:8000", "--publish 127.0.0.1:0:8000")
    for name, url in urls(team).items():
        script = re.sub(rf"{name}=\S+", f"{name}={url}", script)
    for line in script.splitlines():
        if "docker run" in line and "manage.py" not in line:
            names.append(f"{team.slug}-readme-{len(names)}")
            detached = f"docker run --detach --name {names[-1]} --network {team.slug}_default"
            script = script.replace(line, line.replace("docker run", detached, 1).replace(" --rm", ""))
        elif "docker run" in line:
            script = script.replace(line, line.replace("docker run", f"docker run --network {team.slug}_default"))
    try:
        team.run("sh", "-ec", script)
        for name in names:
            if "celery" in " ".join(team.inspect(name)["Config"]["Cmd"]):
                until(partial(started, team, name))
                team.docker("stop", name)
                assert team.inspect(name)["State"]["ExitCode"] == 0
            else:
                team.wait_healthy(name)
                site = team.address(name)
                assert get(f"{site}/").status == 200
                assert get(f"{site}/readyz").status == 200
    finally:
        for name in names:
            team.docker("rm", "--force", "--volumes", name)
        team.run("sh", "-c", f"rm production.env; docker volume rm --force {team.slug} {team.slug}-beat")


@pytest.fixture
def image(team: Project) -> str:
    """The production image."""
    team.docker("build", "--quiet", "--tag", team.slug, ".")
    return team.slug


def test_a_missing_secret_stops_the_boot_with_one_line(team: Project, image: str) -> None:
    said = team.docker("run", "--rm", image, fails=True)
    assert said.startswith("Configuration error: SECRET_KEY is missing.")
    assert len(said.splitlines()) == 1
    if team.database == "sqlite":
        variables = ["--env", f"SECRET_KEY={KEY}", "--env", "DATABASE_URL=sqlite:////nowhere/db"]
        said = team.docker("run", "--rm", *variables, image, fails=True)
        assert said.startswith("Configuration error: the database cannot be used ([Errno 2] No such file")
        assert len(said.splitlines()) == 1
    else:
        said = team.docker("run", "--rm", "--env", f"SECRET_KEY={KEY}", image, fails=True)
        assert said.startswith("Configuration error: DATABASE_URL is missing.")
        assert len(said.splitlines()) == 1


def test_a_stop_while_it_starts_ends_it(team: Project, image: str) -> None:
    """PID 1 ignores signals it has not installed a handler for, and would then run until it is killed."""
    variables = {**urls(team), "SECRET_KEY": KEY}
    options = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    for seconds in (0.2, 0.5, 0.9, 1.3):
        container = f"{team.slug}-starts"
        team.docker("run", "--detach", "--name", container, *options, "--network", f"{team.slug}_default", image)
        try:
            time.sleep(seconds)
            team.docker("stop", "--time", "120", container)
            assert team.inspect(container)["State"]["ExitCode"] == 0, f"stopped after {seconds} s, it was killed"
        finally:
            team.docker("rm", "--force", "--volumes", container)


def test_a_database_that_is_not_ready_is_said(team: Project, image: str) -> None:
    """Down, missing or empty: the site stays up, /readyz returns 503, no page returns 500, and the log says why."""
    if team.database == "sqlite":
        cases = {"sqlite:////tmp/empty.db": "migrations are missing", "sqlite:////nowhere/db": "unable to open"}
        command = ["granian", "--factory", "--blocking-threads", "1", "ops.front:worker"]
    else:
        url = urls(team)["DATABASE_URL"]
        server = url.rpartition("/")[0]
        away = url.replace("@database:", "@localhost:")
        team.compose("exec", "-T", "database", "createdb", "--username", "app", "empty")
        cases = {f"{server}/empty": "migrations are missing", f"{server}/nowhere": "does not exist", away: "refused"}
        command = []
    for url_, reason in cases.items():
        container = f"{team.slug}-not-ready"
        environment = {**urls(team), "SECRET_KEY": KEY, "DATABASE_URL": url_}
        variables = [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]
        network = ["--network", f"{team.slug}_default", "--publish", "127.0.0.1:0:8000"]
        team.docker("run", "--detach", "--name", container, *variables, *network, image, *command)
        try:
            team.wait_healthy(container)
            site = team.address(container)
            assert get(f"{site}/livez").status == 200
            assert get(f"{site}/readyz").status == 503
            assert get(f"{site}/").status == 200
            lines = [line for line in team.docker("logs", container).splitlines() if '"level": "ERROR"' in line]
            # The image's own command logs it at the start, and each probe logs it again.
            assert len(lines) == (1 if command else 2), lines
            assert all(reason in line for line in lines), lines
            assert "Traceback" not in team.docker("logs", container)
        finally:
            team.docker("rm", "--force", container)


def build_with_index(team: Project, url: str, *options: str) -> str:
    """Rebuild the production image with the package index from a secret, and return the build's output."""
    team.environment["INDEX_URL"] = url
    secret = ["--secret", "id=index-url,env=INDEX_URL"]
    with reinstalling(team):
        return team.docker("build", "--progress", "plain", *secret, *options, "--tag", team.slug, ".")


# A company's base image: the system trusts the company's CA, and no variable points to it.
COMPANY_IMAGE = """
FROM {image} AS base
COPY company.crt /usr/local/share/ca-certificates/
RUN update-ca-certificates
FROM scratch
COPY --from=base / /
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
"""


def test_an_index_of_ones_own_is_asked_and_its_authority_trusted(team: Project, tmp_path: Path) -> None:
    certificates(tmp_path, "127.0.0.1")
    image = matrix.images(team.combination)[0]
    (tmp_path / "Dockerfile").write_text(COMPANY_IMAGE.format(image=image), encoding="utf-8")
    company = f"{team.slug}-company"
    team.docker("build", "--quiet", "--tag", company, str(tmp_path))
    with Index(folder=tmp_path, login=f"user:{CANARY}") as index:
        try:
            said = build_with_index(team, index.url(), "--network", "host", "--build-arg", f"PYTHON_IMAGE={company}")
        finally:
            team.docker("image", "rm", "--force", company)
    assert index.asked == {("pip", True), ("uv", True)}
    assert CANARY not in said


def test_every_command_asks_it_and_trusts_the_authority_that_it_is_given(team: Project, tmp_path: Path) -> None:
    gateway = team.docker("network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", "bridge").strip()
    certificates(tmp_path, gateway)
    before = team.environment.copy()
    both = {("pip", True), ("uv", True)}
    with Index(folder=tmp_path, login=f"user:{CANARY}", address=gateway) as index:
        team.environment["INDEX_URL"] = index.url()
        assert "the index's certificate is not trusted: set CA_CERT" in team.run("make", "lock", fails=True)
        index.asked.clear()
        team.environment["CA_CERT"] = (tmp_path / "company.crt").read_text(encoding="utf-8")
        said = team.run("make", "lock")
        assert index.asked == both
        index.asked.clear()
        with reinstalling(team):
            said += team.compose("build", "web")
        assert index.asked == both
    team.environment = before
    assert CANARY not in said


def test_its_password_is_in_no_layer(team: Project) -> None:
    said = build_with_index(team, PyPI.simple_url.replace("://", f"://user:{CANARY}@"))
    assert CANARY not in said
    assert CANARY not in team.docker("history", "--no-trunc", team.slug)
    count = "docker save {} | grep --text --count --fixed-strings '{}' || true"
    assert int(team.run("sh", "-c", count.format(team.slug, "then run the server"))) > 0, "the layers are not read"
    assert int(team.run("sh", "-c", count.format(team.slug, CANARY))) == 0


def test_an_editor_attaches(team: Project) -> None:
    """To the process that serves, at the port in launch.json; `up --watch` has built the image with the new package."""
    if team.database != "sqlite":
        return
    team.compose("up", "--detach", "--wait")
    watch = subprocess.Popen(
        ["docker", "compose", "watch", "--no-up"],
        cwd=team.path,
        env=team.engine.env | team.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert watch.stdout
        said = ""
        while "Watch enabled" not in said:
            said = watch.stdout.readline()
            assert said, "docker compose watch has ended"
        lock, up = follow(team, "A debugger that an editor attaches to")
        team.run("sh", "-ec", lock)
        look = "docker compose exec -T web ls /opt/venv/bin 2>&1 || true"  # between two containers, there is none
        until(lambda: "debugpy" in team.run("sh", "-c", look))
    finally:
        watch.terminate()
        watch.communicate(timeout=PATIENCE)
    team.environment["DEBUG_PORT"] = "0"
    team.run("sh", "-ec", up)
    launch = json.loads((team.path / ".vscode" / "launch.json").read_text(encoding="utf-8"))["configurations"][0]
    (published,) = (team.compose("port", "web", str(launch["connect"]["port"])).split(),)
    port = int(published[0].rpartition(":")[2])
    maps = [{"localRoot": str(team.path), "remoteRoot": launch["pathMappings"][0]["remoteRoot"]}]
    parent = Debugger(port, {**launch, "pathMappings": maps})
    parent.send("configurationDone")
    child = parent.child(port)
    views = (team.path / "config" / "views.py").read_text(encoding="utf-8").splitlines()
    line = next(number for number, text in enumerate(views, 1) if "return redirect(" in text)
    child.break_at(str(team.path / "config" / "views.py"), line)
    site = team.address(team.container("web"))
    answers: list[Answer] = []
    asker = threading.Thread(target=lambda: answers.append(get(f"{site}/favicon.ico", timeout=PATIENCE)), daemon=True)
    asker.start()
    assert child.evaluate("request.path") == "'/favicon.ico'"
    asker.join(PATIENCE)
    assert [answer.status for answer in answers] == [302]
    child.close()
    parent.close()


def test_the_data_is_deleted_on_request(team: Project) -> None:
    volumes = ("volume", "ls", "--quiet", "--filter", f"name={team.slug}_")
    assert team.docker(*volumes)
    team.run("make", "reset-db")
    assert team.docker(*volumes) == ""
