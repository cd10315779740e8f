"""The steps of docs/recipes.md, followed in a project as a reader does."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

from tests.support.matrix import ROOT
from tests.support.project import Project

# "`FILE`, after `TEXT`:" and a block, or a block of commands.
STEP = re.compile(
    r"(?:`(?P<file>[\w./-]+)`(?:, (?P<how>after|instead of) `(?P<line>.+?)`|, at the end)?[^`\n]*:\n\n)?"
    r"^```(?P<kind>\w*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


def follow(project: Project, heading: str) -> Iterator[str]:
    """Follow the recipe with this heading, and yield each of its commands, for the caller to run.

    AssertionError if the recipe names a line that is not there just once.
    """
    section = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    for step in STEP.finditer(section):
        if step["kind"] == "sh":
            yield from step["text"].splitlines()
            continue
        assert step["file"], f"{heading}: {step['text']} belongs to no file"
        path = project.path / step["file"]
        if not step["how"]:
            new = [folder for folder in (path, *path.parents) if not folder.exists()]
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(step["text"])
            for made in new:
                subprocess.run(["chown", "--reference", project.path / "manage.py", made], check=True)
            continue
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        (number,) = (number for number, line in enumerate(lines) if step["line"] in line)
        lines[number : number + 1] = [step["text"]] if step["how"] == "instead of" else [lines[number], step["text"]]
        path.write_text("".join(lines), encoding="utf-8")
