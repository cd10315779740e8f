"""Read settings from environment variables; raise ConfigurationError if one is invalid.

`NAME_FILE` is the path of a file that contains the value of NAME: Docker passes secrets this way.
"""

import os
import re
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import environ  # type: ignore[import-untyped]

from ops.errors import ConfigurationError
from ops.logs import register_secret


def refuse_twice(name: str) -> None:
    """Raise ConfigurationError if a setting has both a value and a file."""
    if os.environ.get(name) and os.environ.get(f"{name}_FILE"):
        raise ConfigurationError(f"both {name} and {name}_FILE are set. Remove one of them.")


# Tests of settings that Django itself would trip over later, or not at all: name -> test, example.
FORMS: dict[str, tuple[Callable[[str], object], str]] = {
    "ALLOWED_HOSTS": (re.compile(r"([\w.*,\s-]|\[[\da-fA-F:.]+\])*").fullmatch, "www.example.com"),
    "DEFAULT_FROM_EMAIL": (
        re.compile(r"[^@\s<>]+@[^@\s<>]+|[^@\n<>]*<[^@\s<>]+@[^@\s<>]+>").fullmatch,
        "site@example.com",
    ),
    "LANGUAGE_CODE": (re.compile(r"[A-Za-z]{2,3}(-[A-Za-z\d]{2,8})*").fullmatch, "en-gb"),
    # Listing the time zones opens hundreds of files, so they are listed only if one is set.
    "TIME_ZONE": (lambda name: name in available_timezones(), "Europe/Paris"),
}


class Env(environ.FileAwareEnv):  # type: ignore[misc]
    """Values as they are: django-environ takes one that starts with a dollar sign for another variable's name."""

    def get_value(self, var: str, cast: Any = None, default: Any = environ.Env.NOTSET, **options: Any) -> Any:
        """Return a setting; ConfigurationError if its value has the wrong form."""
        refuse_twice(var)
        value = self.ENVIRON.get(var, "")
        fits, example = FORMS.get(var, (bool, ""))
        if value and not fits(value):
            raise ConfigurationError(f"{var} is {value!r}. Set it to something like {example}.")
        if value.startswith("$"):
            return self.parse_value(value, cast)
        return super().get_value(var, cast, default, **options)


env = Env()


def flag(name: str, *, default: bool) -> bool:
    """Return a boolean setting. A misspelled value is an error: read as false, it would turn HTTPS off."""
    value: str = env.str(name, default="").strip().lower()
    if not value:
        return default
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    raise ConfigurationError(f"{name} is {value!r}. Set it to 1 or 0.")


def matching(name: str, pattern: str, *, default: str) -> str:
    """Return a setting that must match `pattern`, ignoring case."""
    value: str = env.str(name, default=default).strip()
    if not re.fullmatch(pattern, value, re.IGNORECASE):
        raise ConfigurationError(f"{name} is {value!r}. Set it to something like {default}.")
    return value


def number(name: str, *, default: int, minimum: int = 0) -> int:
    """Return a setting that must be an integer, `minimum` or more."""
    value = int(matching(name, r"\d+", default=str(default)))
    if value < minimum:
        raise ConfigurationError(f"{name} is {value}. Set it to {minimum} or more.")
    return value


GATEWAYS: set[str] = set()  # the host's addresses in Docker's networks


def networks(name: str) -> list[str]:
    """Return a comma-separated list of networks, which is empty by default.

    In one that is marked as `docker:`, the first address is the host's: it is left out, and added to GATEWAYS.
    """
    found: list[str] = []
    for each in env.list(name, default=[]):
        try:
            network: Any = ip_network(each.strip().removeprefix("docker:"))
        except ValueError as error:
            raise ConfigurationError(
                f"{name} is not a list of networks ({error}). Set it to something like 10.0.0.0/8,192.0.2.7."
            ) from None
        if each.strip().startswith("docker:"):
            gateway = network[min(1, network.num_addresses - 1)]
            GATEWAYS.add(str(gateway))
            found += map(str, network.address_exclude(ip_network(gateway)))
        else:
            found.append(each.strip())
    return found


DEBUG = flag("DEBUG", default=False)
# Set while the image is built: static files are collected without secrets and without a database.
BUILDING = flag("BUILDING", default=False)
# In each worker process: ops/front.py runs the site in them.
THREADS = number("GRANIAN_BLOCKING_THREADS", default=4, minimum=1)

# Values from examples that were not replaced with a real secret.
PLACEHOLDER = re.compile(r"change.?me|insecure|:password@", re.IGNORECASE)


def secret(name: str, *, default: str = "", advice: str = "", length: int = 0) -> str:
    """Return the secret `name` from its variable or its file, without surrounding whitespace.

    If it is missing, return `default`. If both are empty and `advice` is not, raise ConfigurationError with `advice`;
    in production also if the secret has fewer than `length` characters.
    """
    if BUILDING:
        return ""
    refuse_twice(name)
    value, file = os.environ.get(name, ""), os.environ.get(f"{name}_FILE", "")
    if file:
        try:
            value = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{name}_FILE cannot be read ({error}).") from None
    value = value.strip()
    for each in {value, *value.split()}:
        register_secret(each)
    if not DEBUG and PLACEHOLDER.search(value):
        raise ConfigurationError(f"{name} is a placeholder. {advice or 'Set it to a real secret.'}")
    if advice and not (value or default):
        raise ConfigurationError(f"{name} is missing. {advice}")
    if not DEBUG and len(value or default) < length:
        raise ConfigurationError(f"{name} is too short. {advice}")
    return value or default
