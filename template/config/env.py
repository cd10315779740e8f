"""Read settings from the environment.

`NAME_FILE` names a file that holds the value of NAME, which is how Docker hands over secrets.
"""

import os
from typing import NoReturn

import environ

env = environ.FileAwareEnv()


def stop(message: str) -> NoReturn:
    """End the process with one line on stderr: whoever starts a container reads that, not a traceback."""
    raise SystemExit(f"Configuration error: {message}")


def secret(name: str, *, default: str, advice: str) -> str:
    """Return the secret NAME from its variable or its file, without surrounding white space.

    `default` stands in where there is none; if that is empty as well, the process stops with `advice`.
    """
    if name in os.environ and f"{name}_FILE" in os.environ:
        stop(f"both {name} and {name}_FILE are set. Remove one of them.")
    try:
        value: str = env.str(name, default="").strip()
    except (OSError, UnicodeDecodeError) as error:
        stop(f"{name}_FILE cannot be read ({error}).")
    return value or default or stop(f"{name} is missing. {advice}")
