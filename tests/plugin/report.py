"""The report: a line for each finished combination, failures immediately, and tables at the end."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.plugin.machine import IMAGES
from tests.plugin.selection import LEFT, combination_of, scope_of
from tests.support import matrix
from tests.support.matrix import ROOT

REPORT = ROOT / "reports" / "matrix.md"
INTERVAL = 0.5  # seconds between two samples of the CPU time


class Clock(threading.Thread):
    """Samples the machine's CPU time, so that it can be divided among the stages."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.start_time = time.time()
        self.busy: list[float] = []  #: CPU seconds of the whole machine, in each interval since the start
        self._over = threading.Event()

    def run(self) -> None:
        before = busy()
        while not self._over.is_set():
            # By wall-clock time, as in the workers' reports.
            self._over.wait(max(0.0, self.start_time + (len(self.busy) + 1) * INTERVAL - time.time()))
            now = busy()
            self.busy.append(now - before)
            before = now

    def stop(self) -> None:
        """Take the last sample, and end."""
        self._over.set()
        self.join()

    def share(self, spans: list[tuple[str, float, float]]) -> dict[str, float]:
        """Return the CPU seconds by name, from spans of time: name, start, end.

        Each interval's seconds are divided among the spans in it, in proportion to their overlap. That is accurate
        when few run at a time, and charges spans that wait for what others compute.
        """
        weights: list[dict[str, float]] = [defaultdict(float) for _ in self.busy]
        for name, start, end in spans:
            first = max(0, int((start - self.start_time) / INTERVAL))
            last = min(len(self.busy) - 1, int((end - self.start_time) / INTERVAL))
            for number in range(first, last + 1):
                left = self.start_time + number * INTERVAL
                weights[number][name] += max(0.0, min(end, left + INTERVAL) - max(start, left))
        shares: dict[str, float] = defaultdict(float)
        for seconds, names in zip(self.busy, weights, strict=True):
            for name, weight in names.items():
                shares[name] += seconds * weight / (sum(names.values()) or 1)
        return shares


def busy() -> float:
    """Return the CPU seconds that this machine has used since it booted; 0 if it does not run Linux."""
    try:
        words = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()
    except OSError:
        return 0.0
    user, nice, system, _, _, interrupts, soft = map(int, words[1:8])
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")


class Report:
    """The results so far. Only the process that starts the workers has a report."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.rows: dict[str, dict[str, str]] = {}  #: combination -> column -> figure
        self.beside: dict[str, str] = {}  #: a test beside the matrix -> its figures
        self.elsewhere: dict[str, None] = {}
        self.left: Counter[str] = Counter()  #: combination -> tests to come
        self.failed: set[str] = set()
        self.spans: list[tuple[str, float, float]] = []  #: stage, start, end
        self.scopes: dict[str, set[str]] = defaultdict(set)  #: stage -> the scopes that it ran for
        self.not_due: list[str] = []

    def expect(self, nodeids: list[str]) -> None:
        """Count each combination's tests, to know when it is done."""
        self.left = Counter(name for nodeid in nodeids if (name := combination_of(nodeid)))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        """Count the tests if workers collect them."""
        if not self.left:
            self.expect(ids)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Count the tests if there are no workers."""
        if session.items:
            self.expect([item.nodeid for item in session.items])
            self.not_due = session.config.stash.get(LEFT, [])

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Receive the list of tests that the workers left for other runs."""
        self.not_due = getattr(node, "workeroutput", {}).get("not_due", self.not_due)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the figures, and print a line for each combination that is done."""
        name = combination_of(report.nodeid)
        stage = Path(report.nodeid.partition("::")[0]).stem.removeprefix("test_")
        self.spans.append((stage, report.start, report.stop))
        self.scopes[stage].add(scope_of(report.nodeid))
        figures = {str(column): str(value) for column, value in report.user_properties if report.when == "call"}
        if elsewhere := figures.pop("elsewhere", None):
            self.elsewhere.update(dict.fromkeys(elsewhere.splitlines()))
        if report.failed:
            tail = "\n".join(report.longreprtext.splitlines()[-12:])
            print(f"\n{report.nodeid} failed:\n{tail}", flush=True)  # now, not at the end of the run
            self.failed.add(name or "")
        if name:
            self.rows.setdefault(name, {}).update(figures)
            if report.when == "teardown":
                self.left[name] -= 1
                if self.left[name] == 0:
                    self.print_done(name)
        elif figures:
            self.beside[report.nodeid.rpartition("/")[2]] = ", ".join(f"{key}: {figures[key]}" for key in figures)

    def print_done(self, name: str) -> None:
        """Print that all tests of a combination are done."""
        done = sum(1 for count in self.left.values() if count == 0)
        verdict = "FAILED" if name in self.failed else "ok"
        figures = ", ".join(f"{column} {value}" for column, value in self.rows[name].items())
        clock = time.strftime("%H:%M:%S", time.gmtime(time.time() - self.clock.start_time))
        print(f"\n{clock} [{done}/{len(self.left)}] {name}: {verdict}; {figures}", flush=True)

    def stages(self) -> list[str]:
        """Return the lines of the table of stages: the seconds that they took, and the CPU seconds."""
        self.clock.stop()
        processors = self.clock.share(self.spans)
        lines = ["| stage | times | s | CPU s | CPU s each |", "|---|---|---|---|---|"]
        for stage in sorted(processors, key=lambda stage: -processors[stage]):
            times, spent = len(self.scopes[stage]), sum(end - start for name, start, end in self.spans if name == stage)
            each = processors[stage] / times
            lines.append(f"| {stage} | {times} | {spent:.0f} | {processors[stage]:.0f} | {each:.1f} |")
        wall, total = time.time() - self.clock.start_time, sum(self.clock.busy)
        return [*lines, f"| the whole run | | {wall:.0f} | {total:.0f} | |"]

    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> None:
        """Print the tables and write them to a file, with the images' sources and what was not tested."""
        lines = [f"- {line}" for line in config.stash.get(IMAGES, [])]
        order = [name for name in (each.name for each in matrix.combinations()) if name in self.rows]
        columns = list(dict.fromkeys(column for name in order for column in self.rows[name]))
        if order:
            lines += ["", f"| combination | result | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
            for name in order:
                cells = [self.rows[name].get(column, "") for column in columns]
                lines.append(f"| {name} | {'FAILED' if name in self.failed else 'ok'} | {' | '.join(cells)} |")
        if self.beside:
            rows = [f"| {name} | {figures} |" for name, figures in sorted(self.beside.items())]
            lines += ["", "| beside the matrix | figures |", "|---|---|", *rows]
        if self.spans:
            lines += ["", *self.stages()]
        if self.not_due:
            lines += ["", "Left for other runs:", "", *(f"- {line}" for line in self.not_due)]
        if self.elsewhere:
            lines += ["", "Not proved here:", "", *(f"- {line}" for line in self.elsewhere)]
        if lines:
            terminalreporter.section("images, combinations and stages")
            terminalreporter.write_line("\n".join(lines))
            REPORT.parent.mkdir(exist_ok=True)
            REPORT.write_text("\n".join(lines) + "\n", encoding="utf-8")


def pytest_configure(config: pytest.Config) -> None:
    """Report only from the process that starts the workers."""
    if not hasattr(config, "workerinput") and not config.option.collectonly:
        report = Report()
        report.clock.start()
        config.pluginmanager.register(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the list of tests left for other runs to the reporting process."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["not_due"] = session.config.stash.get(LEFT, [])
