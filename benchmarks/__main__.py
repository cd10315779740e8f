"""Measure sizes and times, and compare them with the budgets and the accepted run: `make benchmark`.

Times differ between machines: compare their ratios to the first row, which is in the same run. A missed time is shown;
a missed size is an error.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks import scale, throughput
from benchmarks.measure import DEVELOPED, TELLING, Bench
from benchmarks.report import HERE, keep, markdown, write
from tests.engine import stop_engine
from tests.support.matrix import ROOT
from tests.support.project import CommandError
from tests.support.servers import remove_servers
from tools.errors import said_plainly


def main() -> None:
    """Measure, print tables, and write them with the plots into reports/, or beside this file as the accepted run."""
    parser = argparse.ArgumentParser(prog="make benchmark")
    parser.add_argument("--accept", action="store_true")
    parser.add_argument("--only", choices=["times", "throughput", "scale"], help="measure this part, and for longer")
    parser.add_argument("--large", action="store_true", help="scale: up to a thousand; takes half an hour")
    options = parser.parse_args()
    folder = ROOT / "reports" / "benchmark"
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        Path(temporary).chmod(0o755)  # the projects' owner reads them
        bench = Bench(Path(temporary))
        if bench.engine.started:
            stack.callback(stop_engine)
        stack.callback(remove_servers, bench.engine, str(os.getpid()))
        if options.only in (None, "times"):
            bench.template()
            for name in TELLING:
                bench.image(name)
            for name in DEVELOPED:
                bench.loop(name)
            print(markdown(bench.figures))
            write(bench.figures, folder)
        if options.only in (None, "throughput"):
            pages, seconds = (throughput.PAGES, 2) if options.only else (throughput.BRIEF, 1)
            rates = throughput.throughput(bench, pages, seconds)
            keep("throughput", rates, throughput.table(rates), folder)
        if options.only in (None, "scale"):
            kinds = scale.KINDS if options.only else scale.BRIEF
            growths = scale.scale(bench, kinds, (10, 100, 1000) if options.large else (100,))
            keep("scale", growths, scale.table(growths), folder)
    if options.accept:  # last: changes of the repository would be measured as a part of the template
        shutil.copytree(folder, HERE, dirs_exist_ok=True)
    large = [figure for figure in bench.figures if figure.name == "added" and figure.median > (figure.budget or 0)]
    sys.exit(f"Larger than its budget: {', '.join(figure.combination for figure in large)}" if large else 0)


if __name__ == "__main__":
    with said_plainly(CommandError):
        main()
