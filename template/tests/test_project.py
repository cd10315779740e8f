"""A step that is easy to forget as the project grows; ops/testing.py checks others before it runs any test."""

from pathlib import Path

import pytest
from django.apps import apps

ROOT = Path(__file__).resolve().parent.parent


def test_every_package_gets_into_the_image() -> None:
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    folders = [Path(app.path) for app in apps.get_app_configs()] + [path.parent for path in ROOT.glob("*/__init__.py")]
    own = {folder.relative_to(ROOT).parts[0] for folder in folders if folder.is_relative_to(ROOT)} - {"tests"}
    if missing := " ".join(f"!{folder}" for folder in sorted(own) if f"!{folder}" not in allowed):
        pytest.fail(f"not in the image: add to .dockerignore, a line each, {missing}", pytrace=False)
