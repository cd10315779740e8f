"""Carry a team's edits over to where the template has moved a file: a migration, run by `copier update`.

Copier deletes what the template no longer has, with all that a team wrote into it. So a release that moves a file
names this script in `_migrations`, with the version that moves it:

    _migrations:
      - version: v1.0.0
        command: ["{{ _copier_python }}", "{{ _copier_conf.src_path }}/hooks/moved.py", "OLD", "NEW"]

`NEW` is merged with the edits; where that needs a decision, it holds conflict markers as after any update.
Without `NEW` the template has dropped the file, and an edited one stays. Copier sets VERSION_FROM.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import copier
import yaml


def before_update(name: str) -> bytes | None:
    """Return a file as the project's last commit has it, or None if it has no such file."""
    result = subprocess.run(["git", "show", f"HEAD:./{name}"], capture_output=True, check=False)
    return None if result.returncode else result.stdout


def main(old: str, new: str | None = None) -> None:
    """Merge the edits that the file `old` had into `new`, or bring an edited `old` back if there is no `new`."""
    edited = before_update(old)
    answers = before_update(".copier-answers.yml")
    if edited is None or answers is None:
        return
    data = yaml.safe_load(answers)
    with tempfile.TemporaryDirectory() as folder:
        copier.run_copy(
            data["_src_path"], folder, data=data, vcs_ref=os.environ["VERSION_FROM"], defaults=True, quiet=True
        )
        base = Path(folder, old)
        if not base.exists() or base.read_bytes() == edited:
            return
        if new is None:
            Path(old).write_bytes(edited)
            return
        merged = Path(folder, "merged")
        merged.write_bytes(edited)
        labels = [word for label in ("before updating", "last update", "after updating") for word in ("-L", label)]
        subprocess.run(["git", "merge-file", *labels, merged, base, new], check=False)
        Path(new).write_bytes(merged.read_bytes())


if __name__ == "__main__":
    main(*sys.argv[1:])
