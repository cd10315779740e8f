"""One line on stderr where a setting is wrong."""

import sys
from types import TracebackType

from django.core.exceptions import ImproperlyConfigured


class ConfigurationError(ImproperlyConfigured):
    """A setting is wrong. A process that this ends prints the message, as one line."""


def report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Print an error that ends the process. A traceback would bury a wrong setting in the log of a container."""
    if isinstance(error, ConfigurationError):
        print(f"Configuration error: {error}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = report
