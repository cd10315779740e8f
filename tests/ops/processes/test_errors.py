"""Every process reports a wrong setting on one line, and exits."""

import os
import subprocess
import sys

import pytest

from tests.ops.production import PRODUCTION


def run(command: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run Python in production with `variables`."""
    environment = {name: value for name, value in os.environ.items() if name != "DEBUG"} | variables
    return subprocess.run(  # noqa: S603
        [sys.executable, *command.split()], env=environment, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize(
    "command",
    [
        "manage.py migrate",
        "manage.py runserver",
        "-m ops.serve",
        "-m celery --quiet --app config worker",
        "-m celery --quiet --app config beat",
    ],
)
@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"SECRET_KEY": ""}, "SECRET_KEY is missing. Make one with `openssl rand -base64 48`."),
        ({"DEBUG": "ture"}, "DEBUG is 'ture'. Set it to 1 or 0."),
    ],
)
def test_a_wrong_setting_is_one_line(command: str, variables: dict[str, str], message: str) -> None:
    ended = run(command, variables)
    assert ended.returncode == 1
    assert (ended.stdout, ended.stderr) == ("", f"Configuration error: {message}\n")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WEB_QUEUE": "many"}, "WEB_QUEUE is 'many'. Set it to something like 100."),
        ({"GRANIAN_BLOCKING_THREADS": "0"}, "GRANIAN_BLOCKING_THREADS is 0. Set it to 1 or more."),
        *(
            (
                {"GRANIAN_INTERFACE": name},
                f"GRANIAN_INTERFACE is {name!r}. Remove it: ops/front.py speaks asginl, and calls the site by WSGI.",
            )
            for name in ("asgi", "wsgi", "rsgi", "")
        ),
    ],
)
def test_a_wrong_value_ends_the_server_once(variables: dict[str, str], message: str) -> None:
    ended = run("-m ops.serve", PRODUCTION | variables)
    assert ended.returncode == 1
    assert (ended.stdout, ended.stderr) == ("", f"Configuration error: {message}\n")
