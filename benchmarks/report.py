"""How the figures are shown: JSON, Markdown, plots, and the comparison with the run that was accepted last."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pygal  # type: ignore[import-untyped]
from pygal.style import Style  # type: ignore[import-untyped]

from benchmarks.measure import REFERENCE, WHAT, Figure

HERE = Path(__file__).parent
ACCEPTED = HERE / "accepted.json"
# Readable on light and on dark pages. The plots load nothing from elsewhere.
STYLE = Style(
    background="transparent",
    plot_background="transparent",
    foreground="#7d8590",
    foreground_strong="#7d8590",
    foreground_subtle="#7d8590",
    guide_stroke_color="#7d859066",
    major_guide_stroke_color="#7d859066",
    colors=("#2f81f7",),
    font_family="sans-serif",
)
PLOTS = {
    "added": "MB added to the base image",
    "download": "Seconds of a build, nothing cached",
    "view": "Seconds of a rebuild after an edit of a view",
    "lock": "Seconds of a rebuild after an edit of the lock",
}


def write(figures: list[Figure], folder: Path) -> None:
    """Write accepted.json, accepted.md and the plots into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    document = [asdict(figure) | {"median": round(figure.median, 3)} for figure in figures]
    (folder / "accepted.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (folder / "accepted.md").write_text(markdown(figures), encoding="utf-8")
    peers = json.loads((HERE / "peers.json").read_text(encoding="utf-8"))["projects"]
    for name, title in PLOTS.items():
        ours = next(figure.median for figure in figures if (figure.name, figure.combination) == (name, REFERENCE))
        chart = pygal.HorizontalBar(
            style=STYLE, js=[], show_legend=False, title=title, print_values=True, height=260, width=720
        )
        rows = {peer: figures[name] for peer, figures in peers.items()} | {"Slipway": ours}
        chart.x_labels = sorted(rows, key=lambda peer: -rows[peer])
        values = [
            {"value": round(rows[peer], 2), "color": "#f78166" if peer == "Slipway" else "#2f81f7"}
            for peer in chart.x_labels
        ]
        chart.add("", values)
        chart.render_to_file(str(folder / f"{name}.svg"))


def keep(name: str, results: Sequence[Any], text: str, folder: Path) -> None:
    """Print a table, and write it and the results that it shows, which are dataclasses, into `folder`."""
    print(text)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    rows = [asdict(result) for result in results]
    (folder / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def markdown(figures: list[Figure]) -> str:
    """Return the figures as a table, with the spread of the runs, and the change since the accepted run."""
    accepted: list[dict[str, Any]] = json.loads(ACCEPTED.read_text(encoding="utf-8")) if ACCEPTED.exists() else []
    before = {(row["name"], row["combination"]): row["median"] for row in accepted}
    yardsticks = figures[0].median, before.get((figures[0].name, ""))
    lines = ["| what | of | median | from - to | budget | bare starts | accepted |", "|---|---|---|---|---|---|---|"]
    for figure in figures:
        old = before.get((figure.name, figure.combination))
        ratio = change = ""
        if figure.unit == "s":
            ratio = f"{figure.median / yardsticks[0]:.1f}"
            change = f"{old / yardsticks[1]:.1f}" if old and yardsticks[1] else ""
        elif old:
            change = f"{old:.1f} {figure.unit}"
        budget = (
            "" if figure.budget is None else f"{figure.budget:g} {'' if figure.median <= figure.budget else 'MISSED'}"
        )
        spread = f"{min(figure.runs):.2f} - {max(figure.runs):.2f}" if len(figure.runs) > 1 else ""
        cells = (
            *(WHAT[figure.name], figure.combination, f"{figure.median:.2f} {figure.unit}"),
            *(spread, budget.strip(), ratio, change),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
