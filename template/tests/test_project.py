"""Steps that are easy to forget as the project grows."""

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import call_command
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.django_db
def test_no_model_change_lacks_its_migration() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_every_app_gets_into_the_image() -> None:
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    folders = [Path(app.path) for app in apps.get_app_configs()]
    own = {folder.relative_to(ROOT).parts[0] for folder in folders if folder.is_relative_to(ROOT)}
    missing = [f"!{folder}" for folder in sorted(own) if f"!{folder}" not in allowed]
    assert not missing, "the image lacks these apps: add the lines to .dockerignore"


PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("wanted", PYPROJECT["project"]["dependencies"] + PYPROJECT["dependency-groups"]["dev"])
def test_the_image_holds_what_pyproject_asks_for(wanted: str) -> None:
    requirement = Requirement(wanted)
    if requirement.marker and not requirement.marker.evaluate():
        return
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        installed = "none"
    assert installed in requirement.specifier, f"{installed} is installed: run `make lock`, then `docker compose build`"
