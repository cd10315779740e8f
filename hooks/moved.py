"""Carry a team's edits over when the template moves a file: a migration, run by `copier update`.

Copier deletes files that the template no longer has, with a team's edits in them. So a release that moves a file
lists this script in `_migrations`, with its version, below the entries of earlier versions:

    _migrations:
      - version: v1.0.0
        command: ["{{ _copier_python }}", "{{ _copier_conf.src_path }}/hooks/moved.py", "OLD", "NEW"]

The edits are merged into `NEW`. A conflict leaves markers in the file, and git lists it as unmerged, as after any
update. If a later release moves `NEW` again, the edits follow. Without `NEW`, the template has dropped the file, and
an edited one is kept; it is also kept if the project's answers exclude `NEW`. Copier sets VERSION_FROM.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import copier
import yaml

CONFLICT = range(1, 128)  # `git merge-file` returns the number of conflicts; higher values are errors


def before_update(name: str) -> bytes | None:
    """Return a file's content in the project's last commit, or None if it is not there."""
    result = subprocess.run(["git", "show", f"HEAD:./{name}"], capture_output=True, check=False)
    return None if result.returncode else result.stdout


def where_now(old: str, new: str | None) -> str | None:
    """Return the current name of the file that moved from `old` to `new`, after later moves; None if it was dropped."""
    document = yaml.safe_load(Path(__file__).parent.with_name("copier.yml").read_text(encoding="utf-8"))
    commands = [migration["command"] for migration in document["_migrations"]]
    moves = [command[2:] for command in commands if command[1].endswith("/moved.py")]
    for source, *target in moves[moves.index([old, new] if new else [old]) + 1 :]:
        if source == new:
            new = target[0] if target else None
    return new


def mark_unmerged(name: str, *versions: Path) -> None:
    """Mark a file as conflicting in git, between three `versions`: the base, the team's, the template's."""
    mode = f"100{'755' if os.access(name, os.X_OK) else '644'}"
    prefix = subprocess.run(["git", "rev-parse", "--show-prefix"], capture_output=True, text=True, check=True)
    lines = []
    for stage, path in enumerate(versions, start=1):
        stored = subprocess.run(["git", "hash-object", "-w", path], capture_output=True, text=True, check=True)
        lines.append(f"{mode} {stored.stdout.strip()} {stage}\t{prefix.stdout.strip()}{name}\n")
    subprocess.run(["git", "update-index", "--index-info"], input="".join(lines), text=True, check=True)


def main(old: str, new: str | None = None) -> None:
    """Merge a team's edits of `old` into `new`, or restore an edited `old` if there is no `new`."""
    edited = before_update(old)
    answers = before_update(".copier-answers.yml")
    if edited is None or answers is None:
        return
    new = where_now(old, new)
    data = yaml.safe_load(answers)
    with tempfile.TemporaryDirectory() as folder:
        copier.run_copy(
            data["_src_path"], folder, data=data, vcs_ref=os.environ["VERSION_FROM"], defaults=True, quiet=True
        )
        base = Path(folder, old)
        if not base.exists() or base.read_bytes() == edited:
            return
        if new is None or not Path(new).exists():
            Path(old).parent.mkdir(parents=True, exist_ok=True)
            Path(old).write_bytes(edited)
            return
        ours, theirs = Path(folder, "ours"), Path(folder, "theirs")
        ours.write_bytes(edited)
        theirs.write_bytes(Path(new).read_bytes())
        labels = [word for label in ("before updating", "last update", "after updating") for word in ("-L", label)]
        merge = ["git", "merge-file", "--stdout", *labels, ours, base, theirs]
        merged = subprocess.run(merge, stdout=subprocess.PIPE, check=False)
        if merged.returncode not in {0, *CONFLICT}:
            merged.check_returncode()
        Path(new).write_bytes(merged.stdout)
        if merged.returncode:
            mark_unmerged(new, base, ours, theirs)


if __name__ == "__main__":
    main(*sys.argv[1:])
