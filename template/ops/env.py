"""Read settings from environment variables; raise ConfigurationError if one is invalid.

`NAME_FILE` is the path of a file that contains the value of NAME: Docker passes secrets this way.
"""

import os
import re
from ipaddress import ip_network
from pathlib import Path

import environ  # type: ignore[import-untyped]

from ops.errors import ConfigurationError
from ops.logs import register_secret

env = environ.FileAwareEnv()


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


def networks(name: str) -> list[str]:
    """Return a comma-separated list of networks, which is empty by default."""
    found = [each.strip() for each in env.list(name, default=[])]
    for each in found:
        try:
            ip_network(each)
        except ValueError as error:
            raise ConfigurationError(
                f"{name} is not a list of networks ({error}). Set it to something like 10.0.0.0/8,192.0.2.7."
            ) from None
    return found


for name, value in os.environ.items():
    if value and name.endswith("_FILE") and os.environ.get(name.removesuffix("_FILE")):
        raise ConfigurationError(f"both {name.removesuffix('_FILE')} and {name} are set. Remove one of them.")

DEBUG = flag("DEBUG", default=False)
# Set while the image is built: static files are collected without secrets and without a database.
BUILDING = flag("BUILDING", default=False)

# Values from examples that were not replaced with a real secret.
PLACEHOLDER = re.compile(r"change.?me|insecure|:password@", re.IGNORECASE)


def secret(name: str, *, default: str = "", advice: str = "") -> str:
    """Return the secret `name` from its variable or its file, without surrounding whitespace.

    If it is missing, return `default`. If both are empty and `advice` is not, raise ConfigurationError with `advice`.
    This does not use django-environ, which takes a value that starts with a dollar sign for a variable's name.
    """
    if BUILDING:
        return ""
    value, file = os.environ.get(name, ""), os.environ.get(f"{name}_FILE", "")
    if file:
        try:
            value = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{name}_FILE cannot be read ({error}).") from None
    if value := value.strip():
        register_secret(value)
    if not DEBUG and PLACEHOLDER.search(value):
        raise ConfigurationError(f"{name} is a placeholder. {advice or 'Set it to a real secret.'}")
    if advice and not (value or default):
        raise ConfigurationError(f"{name} is missing. {advice}")
    return value or default
