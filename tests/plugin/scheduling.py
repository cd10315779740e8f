"""Where tests run: a combination stays with one worker, and tests that mostly wait run while others compute."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from tests.plugin.selection import scope_of


class ByScope(LoadScopeScheduling):  # type: ignore[misc]
    """Give all tests of a scope to one worker.

    Half of the workers start with the combinations, which are CPU-bound, and half with the other tests, which often
    wait.
    """

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)

    def _assign_work_unit(self, node: Any) -> None:
        computes = self.nodes.index(node) % 2 == 0
        for scope in self.workqueue:
            if scope.startswith("tests/") != computes:  # a combination's scope is its name
                self.workqueue.move_to_end(scope, last=False)
                break
        super()._assign_work_unit(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByScope:
    """Tell pytest-xdist how to spread the tests."""
    return ByScope(config, log)
