"""Guessing passwords at a deployed site: guesses are refused, users are not, and pages stay quick."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from pytest_copie.plugin import Copie

from tests.engine import Engine, ensure_image
from tests.support import matrix
from tests.support.matrix import ROOT, Combination
from tests.support.production import Production
from tests.support.project import clean_up, free_port, make_project

pytestmark = pytest.mark.rotates(seconds=90, touched_by=["template/ops/logins.py", "tests/support/attack.py"])

ADA = """
from accounts.models import User
User.objects.create_superuser("ada", password="correct horse")
"""


@pytest.fixture
def site(copie_session: Copie, engine: Engine) -> Iterator[Production]:
    """A deployed site with a user."""
    ensure_image(engine, "caddy:2")
    combination = Combination("slipway-attacked", matrix.pick(database="postgres", use_drf=False).answers)
    project = make_project(copie_session, engine, combination)
    production = Production(project, free_port(), free_port())
    production.make("secrets")
    production.configure(70)
    production.deploy_commit()
    production.python(ADA)
    yield production
    production.remove()
    clean_up(project)


def test_guesses_are_refused_and_users_are_not(site: Production, record: Callable[[str, str], None]) -> None:
    code = (ROOT / "tests" / "support" / "attack.py").read_text(encoding="utf-8")
    found = json.loads(site.compose("exec", "-T", "web", "python", "-c", code).splitlines()[-1])
    for name, figure in found.items():
        record(name, json.dumps(figure))
    assert found["60 names from one address"] == {"200": 29, "429": 31}
    assert found["one name from 60 addresses of a /64"] == {"200": 4, "429": 56}
    assert found["ada, from elsewhere"] == 302
    for flood in ("a flood from one address", "a flood from many"):
        assert max(found[flood]["ms"].values()) < 10_000, flood
        assert "500" not in found[flood]["answers"]
    assert found["a flood from one address"]["answers"]["200"] <= 30 + 4  # 4 can be under way at the limit
    assert found["ada, after the floods"] == 302
    log = site.compose("logs", "--no-log-prefix", "web")
    lockouts = [
        line for line in log.splitlines() if "Too many wrong logins" in line and '"address": "192.0.2.1"' in line
    ]
    assert len(lockouts) == 1
