"""Read settings from the environment, and end with one line where they are wrong.

`NAME_FILE` names a file that holds the value of NAME, which is how Docker hands over secrets.
"""

import os
from pathlib import Path
from typing import Any, NoReturn

import environ  # type: ignore[import-untyped]

env = environ.FileAwareEnv()


def stop(message: str) -> NoReturn:
    """End the process with one line on stderr: whoever starts a container reads that, not a traceback."""
    raise SystemExit(f"Configuration error: {message}")


def flag(name: str, *, default: bool) -> bool:
    """Return a yes-or-no setting. A misspelt word is an error: taken for no, it would turn HTTPS off."""
    value: str = env.str(name, default="").strip().lower()
    if not value:
        return default
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    stop(f"{name} is {value!r}. Set it to 1 or 0.")


DEBUG = flag("DEBUG", default=False)
# Set while the image is built, when static files are collected without a secret and without a database.
BUILDING = flag("BUILDING", default=False)


def secret(name: str, *, default: str = "", advice: str) -> str:
    """Return the secret NAME from its variable or its file, without surrounding white space.

    `default` stands in where there is none; if that is empty as well, the process stops with `advice`. The value is
    taken as it is: django-environ would read one that starts with a dollar sign as the name of another variable.
    """
    if BUILDING:
        return ""
    value, file = os.environ.get(name, ""), os.environ.get(f"{name}_FILE", "")
    if value and file:
        stop(f"both {name} and {name}_FILE are set. Remove one of them.")
    if file:
        try:
            value = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            stop(f"{name}_FILE cannot be read ({error}).")
    return value.strip() or default or stop(f"{name} is missing. {advice}")


def database(engine: str, *, default: str = "", example: str) -> dict[str, Any]:
    """Return Django's settings for the database that DATABASE_URL names, which must be one of Django's `engine`."""
    advice = f"Set it to {example}."
    url = secret("DATABASE_URL", default=default, advice=advice)
    if BUILDING:
        return {}
    if env.DB_SCHEMES.get(url.partition("://")[0]) != f"django.db.backends.{engine}":
        stop(f"DATABASE_URL is not one for this site's database. {advice}")
    try:
        settings: dict[str, Any] = env.db_url_config(url)
    except ValueError:  # its message would hold a part of the password
        stop(f"DATABASE_URL cannot be read: percent-encode the password's special characters. {advice}")
    if not settings["NAME"]:
        stop(f"DATABASE_URL names no database. {advice}")
    return settings
