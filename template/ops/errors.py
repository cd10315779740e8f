"""Report a wrong setting as one line on stderr."""

import sys
from types import TracebackType

from django.core.exceptions import ImproperlyConfigured


class ConfigurationError(ImproperlyConfigured):
    """A setting is wrong. If this ends the process, it prints the message on one line."""


def report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Print an uncaught exception: a ConfigurationError without its traceback, which would bury the message."""
    if isinstance(error, ConfigurationError):
        print(f"Configuration error: {error}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = report
