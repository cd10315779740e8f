"""The layout of the tests: helpers are in tests/support, and no test module imports another."""

from __future__ import annotations

import ast

from tests.support.matrix import ROOT

TESTS = sorted((ROOT / "tests").rglob("test_*.py"))


def test_no_test_module_imports_another() -> None:
    assert len(TESTS) > 20
    for path in TESTS:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            found = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            assert not any("conftest" in name or name.rpartition(".")[2].startswith("test_") for name in found), path


def test_conftest_holds_fixtures_alone() -> None:
    assert len((ROOT / "tests" / "conftest.py").read_text(encoding="utf-8").splitlines()) < 150
