"""Measure sizes and times, and compare them with the budgets and the accepted run: `make benchmark`.

Times differ between machines: compare their ratios to the first row, which is in the same run. A missed time is shown;
a missed size is an error.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import DEVELOPED, TELLING, Bench
from benchmarks.report import HERE, markdown, write
from tests.engine import stop_engine
from tests.support.matrix import ROOT
from tests.support.project import CommandError
from tests.support.servers import remove_servers
from tools.errors import said_plainly


def main() -> None:
    """Measure, print a table, and write it with its plots into reports/, or beside this file as the accepted run."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        Path(folder).chmod(0o755)  # the projects' owner reads them
        bench = Bench(Path(folder))
        if bench.engine.started:
            stack.callback(stop_engine)
        stack.callback(remove_servers, bench.engine, str(os.getpid()))
        bench.template()
        for name in TELLING:
            bench.image(name)
        for name in DEVELOPED:
            bench.loop(name)
    print(markdown(bench.figures), end="")
    write(bench.figures, HERE if sys.argv[1:] == ["accept"] else ROOT / "reports")
    large = [figure for figure in bench.figures if figure.name == "added" and figure.median > (figure.budget or 0)]
    sys.exit(f"Larger than its budget: {', '.join(figure.combination for figure in large)}" if large else 0)


if __name__ == "__main__":
    with said_plainly(CommandError):
        main()
