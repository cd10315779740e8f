"""Read settings from the environment.

`NAME_FILE` names a file that holds the value of NAME, which is how Docker hands over secrets.
"""

import os
from typing import Any, NoReturn

import environ  # type: ignore[import-untyped]

env = environ.FileAwareEnv()

DEBUG: bool = env.bool("DEBUG", default=False)
# Set while the image is built, when static files are collected without a secret and without a database.
BUILDING: bool = env.bool("BUILDING", default=False)


def stop(message: str) -> NoReturn:
    """End the process with one line on stderr: whoever starts a container reads that, not a traceback."""
    raise SystemExit(f"Configuration error: {message}")


def secret(name: str, *, default: str = "", advice: str) -> str:
    """Return the secret NAME from its variable or its file, without surrounding white space.

    `default` stands in where there is none; if that is empty as well, the process stops with `advice`.
    """
    if BUILDING:
        return ""
    if name in os.environ and f"{name}_FILE" in os.environ:
        stop(f"both {name} and {name}_FILE are set. Remove one of them.")
    try:
        value: str = env.str(name, default="").strip()
    except (OSError, UnicodeDecodeError) as error:
        stop(f"{name}_FILE cannot be read ({error}).")
    return value or default or stop(f"{name} is missing. {advice}")


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
    except ValueError as error:
        stop(f"DATABASE_URL cannot be read ({error}). {advice}")
    return settings
