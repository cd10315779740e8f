"""The locks: every package is pinned with hashes, to the same version everywhere; conditions are right and short."""

from __future__ import annotations

import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.matrix import ROOT
from tests.support.project import Project
from tools import lock


def test_every_package_is_pinned_with_hashes_and_names_no_index(project: Project) -> None:
    for name in lock.LOCKS:
        text = (project.path / name).read_text(encoding="utf-8")
        assert "://" not in text
        assert "--index" not in text
        for entry in lock.entries(text)[1]:
            requirement = Requirement(entry.partition("\\")[0])
            assert [each.operator for each in requirement.specifier] == ["=="]
            assert "--hash=sha256:" in entry


def test_versions_are_the_same_everywhere() -> None:
    template = "".join((ROOT / "template" / f"{name}.jinja").read_text(encoding="utf-8") for name in lock.LOCKS)
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", template):
        versions.setdefault(canonicalize_name(name), set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


@pytest.mark.parametrize(
    ("chosen", "wanted"),
    [
        ([{"a": 1, "b": True}, {"a": 1, "b": False}, {"a": 2, "b": True}, {"a": 2, "b": False}], ""),
        ([{"a": 1, "b": True}, {"a": 1, "b": False}], "a == 1"),
        ([{"a": 1, "b": False}, {"a": 2, "b": False}], "not b"),
        ([{"a": 1, "b": True}, {"a": 2, "b": False}], "(a == 1 and b) or (a == 2 and not b)"),
        ([{"a": 1, "b": True}, {"a": 1, "b": False}, {"a": 2, "b": True}], "a == 1 or b"),
    ],
)
def test_conditions(monkeypatch: pytest.MonkeyPatch, chosen: list[lock.Answers], wanted: str) -> None:
    monkeypatch.setattr(lock, "axes", lambda: {"a": [1, 2], "b": [True, False]})
    assert lock.condition(chosen) == wanted
