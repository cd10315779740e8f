"""Renders of one process share work that is the same for all combinations, and skip work without an effect here."""

from __future__ import annotations

from typing import Any

import yaml
from copier import _main
from jinja2 import Environment

_compile = Environment.compile
_compiled: dict[tuple[Any, ...], Any] = {}


def _remember(self: Environment, source: Any, name: Any = None, filename: Any = None, *rest: Any, **more: Any) -> Any:
    """Compile a template, unless an environment with the same extensions has compiled the same text before."""
    key = (type(self), *sorted(self.extensions), source, name, rest, *sorted(more.items()))
    if key not in _compiled:
        _compiled[key] = _compile(self, source, name, filename, *rest, **more)
    return _compiled[key]


def pytest_configure() -> None:
    """Make the renders of this process cheaper; what they write stays the same."""
    Environment.compile = _remember  # type: ignore[method-assign]
    yaml.SafeLoader = yaml.CSafeLoader  # type: ignore[assignment, misc]
    # Copier asks git about every file that it has written, because some systems do not keep the executable bit.
    _main.Worker._sync_git_index_executable_bit = lambda *_: None  # type: ignore[method-assign]
