"""The generated workflows, as GitHub reads them: their expressions, and what a condition lets run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml


def workflow(project: Path, name: str) -> dict[str, Any]:
    """Return what one of a project's workflows says."""
    document: dict[str, Any] = yaml.safe_load((project / ".github" / "workflows" / name).read_text(encoding="utf-8"))
    return document


def value(expression: str, known: Mapping[str, str]) -> Any:
    """Return what an expression of GitHub's comes to, where the contexts' names have the `known` values.

    An output that no step has written is empty; KeyError at any other name that is not known.
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
    """Return `texts` with their expressions filled in, as a step's environment is; KeyError as in `value`."""
    return {
        name: re.sub(r"\$\{\{ (.+?) \}\}", lambda found: str(value(found[1], known)), str(text))
        for name, text in texts.items()
    }
