"""Errors of this machine, as sentences: what `make` runs here fails without a traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.engine import EngineError


@contextmanager
def said_plainly(*errors: type[Exception], interrupted: str = "Interrupted") -> Iterator[None]:
    """Exit with a sentence if the block ends by Ctrl-C, in one of `errors`, or in another that its user can mend."""
    plain: tuple[type[Exception], ...] = (EngineError, OSError, *errors)
    try:
        yield
    except subprocess.CalledProcessError as error:
        sys.exit(f"`{' '.join(map(str, error.cmd))}` failed: see its output above.")
    except plain as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(interrupted)
