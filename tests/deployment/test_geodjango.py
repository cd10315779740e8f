"""GeoDjango, added to a project as its README says: in development, deployed, backed up and restored."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from pytest_copie.plugin import Copie

from tests.engine import Engine, ensure_image
from tests.support import matrix
from tests.support.matrix import Combination
from tests.support.production import Production
from tests.support.project import Project, add_app, clean_up, free_port, make_project

pytestmark = pytest.mark.rotates(
    seconds=300,
    touched_by=[
        "hooks/docker/*",
        "hooks/backup/*",
        "hooks/production/database.yaml",
        "tests/engine/stand_ins/postgis/*",
    ],
)

APP = {
    "__init__.py": "",
    "migrations/__init__.py": "",
    "models.py": """
from django.contrib.gis.db import models


class Place(models.Model):
    point = models.PointField(geography=True)
""",
}
# Prints how many of two places are within 300 km of the first.
CODE = """
from django.contrib.gis.geos import Point
from django.contrib.gis.measure import D
from ledger.models import Place
if not Place.objects.exists():
    Place.objects.create(point=Point(10, 53.55)), Place.objects.create(point=Point(13.4, 52.52))
print(*[Place.objects.filter(point__dwithin=(Point(10, 53.55), D(km=km))).count() for km in (200, 300)])
"""


def gis_project(copie: Copie, engine: Engine) -> Project:
    """Return a project with the README's changes for GeoDjango, and a model with a point."""
    # The README names a package of Debian's stable release, which of the stand-ins only this one has.
    answers = matrix.pick(database="postgres", use_drf=False, python_version="3.13").answers
    project = make_project(copie, engine, Combination("slipway-geodjango", answers))
    text = " ".join((project.path / "README.md").read_text(encoding="utf-8").split())
    steps = text.partition("**GeoDjango**: ")[2].partition(" - **")[0]
    packages, app, _, to, old, *_ = re.findall(r"`([^`]+)`", steps)
    argument, _, value = packages.partition("=")
    project.edit("Dockerfile", f'ARG {argument}=""', f"ARG {argument}={value}")
    add_app(project, APP)
    project.edit("config/settings.py", '    "ledger",\n', f'    "ledger",\n    {app},\n')
    project.edit("compose.yaml", old, to)
    [image] = re.findall(r"the image `([^`]+)`", steps)
    ensure_image(engine, image)
    for name in re.findall(r"`(compose\S*?\.yaml)`", steps.partition("the image ")[2]):
        project.edit(name, f"image: {matrix.images(project.combination)[1]}\n", f"image: {image}\n")
    return project


@pytest.fixture(scope="module")
def made(copie_session: Copie, engine: Engine) -> Iterator[Project]:
    project = gis_project(copie_session, engine)
    yield project
    clean_up(project)


def test_in_development(made: Project) -> None:
    manage = ("run", "--rm", "--build", "-T", "web", "python", "manage.py")
    made.compose(*manage, "makemigrations")
    made.compose(*manage, "migrate")
    assert made.compose(*manage, "shell", "--no-imports", "-c", CODE).strip().endswith("1 2")
    made.compose("down", "--volumes")
    made.commit("Add places")


def test_in_production(made: Project) -> None:
    site = Production(made, free_port(), free_port())
    site.configure(91, "PULL=0")
    try:
        site.make("secrets")
        url = made.path / "secrets" / "database_url"
        url.write_text(url.read_text(encoding="utf-8").replace("postgres://", "postgis://"), encoding="utf-8")
        assert "secrets/database_url: kept" in site.make("secrets")
        site.deploy_commit()
        assert site.python(CODE).strip() == "1 2"
        site.make("backup")
        site.python("from ledger.models import Place; Place.objects.all().delete()")
        [backup] = (made.path / "backups").iterdir()
        site.make("restore", f"FILE={backup.relative_to(made.path)}", "YES=1")
        count = "from ledger.models import Place; print(Place.objects.count())"
        assert site.python(count).strip() == "2"
    finally:
        site.remove()
