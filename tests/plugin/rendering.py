"""Renders share compiled templates: compiling is the larger part of a render, and the same for all combinations."""

from __future__ import annotations

from typing import Any

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
    """Let all renders of this process share compiled templates."""
    Environment.compile = _remember  # type: ignore[method-assign]
