"""When the generated workflows run: on the repository's own default branch, and publishing only on request."""

from __future__ import annotations

import pytest

from tests.support.matrix import ROOT
from tests.support.workflows import value, workflow

WORKFLOWS = sorted(path.name for path in (ROOT / "template" / ".github" / "workflows").iterdir())


def starts(name: str, ref: str, default: str = "main", event: str = "push", **variables: str) -> bool:
    """Return whether a workflow's first job, which all others need, runs for a pushed `ref`, such as tag/v1.0.0."""
    document = workflow(ROOT / "template", name)
    first, *others = document["jobs"].values()
    assert "needs" not in first
    assert all("needs" in job for job in others)
    kind, _, short = ref.rpartition("/")
    known = {
        "github.event_name": event,
        "github.event.repository.default_branch": default,
        "github.ref_name": short,
        "github.ref_type": kind or "branch",
        "vars.PUBLISH": variables.get("PUBLISH", ""),
    }
    return bool(value(first["if"], known))


@pytest.mark.parametrize("ref", ["main", "tag/v1.0.0"])
def test_publishing_is_off_until_its_team_switches_it_on(ref: str) -> None:
    assert not starts("publish.yml", ref)
    assert not starts("publish.yml", ref, PUBLISH="false")
    assert starts("publish.yml", ref, PUBLISH="true")
    assert "gh variable set PUBLISH --body true" in (ROOT / "hooks" / "readme" / "publishing.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["ci.yml", "publish.yml"])
def test_the_default_branch_is_the_repositorys_own(name: str) -> None:
    for default in ("main", "trunk"):
        for branch in ("main", "trunk", "feature"):
            assert starts(name, branch, default, PUBLISH="true") == (branch == default)


def test_a_pull_request_is_checked_whatever_it_is_for() -> None:
    assert starts("ci.yml", "7/merge", event="pull_request")


@pytest.mark.parametrize("name", WORKFLOWS)
def test_no_workflow_calls_another(name: str) -> None:
    """A team may have deleted the other one."""
    for job in workflow(ROOT / "template", name)["jobs"].values():
        assert not any(step.get("uses", "").startswith("./") for step in [job, *job["steps"]])
