"""Reads the generated workflows as GitHub does, and evaluates their expressions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml


def workflow(project: Path, name: str) -> dict[str, Any]:
    """Return one of a project's workflows."""
    document: dict[str, Any] = yaml.safe_load((project / ".github" / "workflows" / name).read_text(encoding="utf-8"))
    return document


def value(expression: str, known: Mapping[str, str]) -> Any:
    """Return the value of a GitHub expression, given the `known` values of the contexts.

    An output that no step has written is empty; any other unknown name is a KeyError.
    """

    def read(found: re.Match[str]) -> str:
        word = found[0]
        if word.startswith("'"):
            return word
        return repr(known.get(word, "") if word.startswith(("steps.", "needs.")) else known[word])

    python = re.sub(r"!(?!=)", " not ", expression.replace("&&", " and ").replace("||", " or "))
    python = re.sub(r"'[^']*'|\b[a-z]\w*(?:\.\w+)+\b", read, python)
    return eval(python.strip(), {"__builtins__": {}})


def filled_in(texts: Mapping[str, Any], known: Mapping[str, str]) -> dict[str, str]:
    """Return `texts` with their expressions replaced by values, as in a step's environment; KeyError as in `value`."""
    return {
        name: re.sub(r"\$\{\{ (.+?) \}\}", lambda found: str(value(found[1], known)), str(text))
        for name, text in texts.items()
    }
