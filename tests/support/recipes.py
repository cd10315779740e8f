"""The steps of pages in docs/, followed in a project as a reader does."""

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


def blocks(project: Project, heading: str, page: str = "production") -> Iterator[str]:
    """Follow a section of a page, and yield each of its blocks of commands, for the caller to run.

    The page's site has the project's name. AssertionError if the section names a line that is not there just once.
    """
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8").replace("my-site", project.slug)
    for step in STEP.finditer(text.split(f"\n## {heading}\n")[1].split("\n## ")[0]):
        # A name before a block may be just the end of a sentence; a script has one that tells.
        if step["kind"] == "sh" and not (step["file"] or "").endswith(".sh"):
            yield step["text"]
            continue
        if step["kind"] == "crontab":
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


def follow(project: Project, heading: str) -> Iterator[str]:
    """Follow the recipe with this heading, and yield each of its commands, for the caller to run."""
    for block in blocks(project, heading, "recipes"):
        yield from block.splitlines()
