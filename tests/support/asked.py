"""Requests that every site must answer, in development and in production."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable

from tests.support.project import SIGN_IN, Answer, Project, credentials, get, until


def home_page(project: Project, home: Answer) -> None:
    """The welcome page shows the site's name, as its owner wrote it."""
    assert home.status == 200
    assert html.escape(project.combination.data["project_name"]) in home.text


def api(project: Project, address: str) -> None:
    """The API requires a login, publishes its schema, and serves its pages' assets itself; without DRF it is absent."""
    drf = project.combination.answers["use_drf"]
    assert get(f"{address}/api/v1/users/").status == (401 if drf else 404)
    assert get(f"{address}/api/schema/").status == (200 if drf else 404)
    docs = get(f"{address}/api/docs/")
    assert docs.status == (200 if drf else 404)
    if drf:
        assets = re.findall(r'(?:src|href)="([^"]+)"', docs.text)
        assert len([asset for asset in assets if asset.startswith("/static/")]) >= 3
        assert all(asset.startswith("/") for asset in assets), "an asset comes from another site"
        assert all(get(address + asset).status == 200 for asset in assets)


def task(project: Project, address: str, shell: Callable[[str], str]) -> None:
    """The worker completes a task that is sent over HTTP. `shell` runs Python with Django loaded."""
    celery, drf = project.combination.answers["use_celery"], project.combination.answers["use_drf"]
    exports = f"{address}/api/v1/exports/" if drf else f"{address}/exports/"
    if not celery:
        assert get(exports).status == 404
        return
    ada = credentials(project, shell(SIGN_IN[drf] % "ada"))
    sent = get(exports, ada, method="POST")
    assert sent.status == 202
    url = f"{exports}{json.loads(sent.text)['id']}/"
    answer = sent

    def done() -> bool:
        nonlocal answer
        answer = get(url, ada)
        return answer.status == 200 and json.loads(answer.text)["state"] == "SUCCESS"

    try:
        until(done, every=0.1)
    except AssertionError:
        raise AssertionError(f"the task is not done: {answer.status} {answer.text}") from None
    assert json.loads(answer.text)["data"]["username"] == "ada"
