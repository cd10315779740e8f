"""The layout of the repository: what belongs where, and how much of it."""

from __future__ import annotations

import ast
import json
import re

import yaml

from benchmarks.measure import REFERENCE
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


def test_no_file_of_the_template_is_mostly_conditions() -> None:
    """Except the locks, which `make lock` writes."""
    template = ROOT / "template"
    files = [path for path in template.rglob("*.jinja") if not path.name.startswith("requirements")]
    tags = {path.relative_to(template).as_posix(): path.read_text(encoding="utf-8").count("{%") for path in files}
    assert len(tags) > 10
    assert {name: count for name, count in tags.items() if count > 25} == {}


def test_links_lead_to_files() -> None:
    """Those of this repository's own pages, to other files of it."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "tests").rglob("*.md")]
    links = {
        (page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    }
    assert len(links) > 5
    assert [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()] == []


def test_the_oldest_docker_is_the_same_everywhere() -> None:
    script = (ROOT / "template" / "scripts" / "docker.sh").read_text(encoding="utf-8")
    needed = re.findall(r'(?m)^at_least ("?Docker[^0-9]*) (\d+\.\d+) ', script)
    assert len(needed) == 2
    readme = (ROOT / "template" / "README.md.jinja").read_text(encoding="utf-8")
    assert [version for _, version in needed if f"{version} or newer" not in readme] == []
    assert needed[0][1] in (ROOT / "README.md").read_text(encoding="utf-8")
    image = (ROOT / "hooks" / "docker" / "runtime.Dockerfile").read_text(encoding="utf-8")
    assert f"install {needed[0][1]} or newer" in image


def test_the_dashboard_and_the_alerts_name_metrics_that_exist() -> None:
    docs, ops = ROOT / "docs" / "metrics", ROOT / "template" / "ops"
    rules = yaml.safe_load((docs / "alerts.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    panels = json.loads((docs / "dashboard.json").read_text(encoding="utf-8"))["panels"]
    asked = [rule["expr"] for rule in rules] + [each["expr"] for panel in panels for each in panel["targets"]]
    names = set(re.findall(r"\b[a-z]+_[a-z_]+[a-z]\b(?= *[{[)>=])", " ".join(asked)))
    names -= {"histogram_quantile"}
    source = "".join((ops / name).read_text(encoding="utf-8") for name in ("metrics.py.jinja", "queue.py"))
    assert len(names) > 8
    for name in names:
        known = re.sub("_(bucket|count)$", "", name).removeprefix("queue_")
        assert f'"{known}"' in source or name.startswith(("process_", "granian_")), name


def test_the_readme_shows_the_figures_that_were_measured() -> None:
    """Ours are those of the accepted benchmark, and the others' those in peers.json, each rounded as it is shown."""
    figures = json.loads((ROOT / "benchmarks" / "peers.json").read_text(encoding="utf-8"))["projects"]
    accepted = json.loads((ROOT / "benchmarks" / "accepted.json").read_text(encoding="utf-8"))
    figures["Slipway"] = {row["name"]: row["median"] for row in accepted if row["combination"] == REFERENCE}
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    table = {row[0]: row[1:] for line in lines if (row := [cell.strip() for cell in line.strip("|").split("|")])[1:]}
    heading = next(cells for cells in table.values() if "Slipway" in cells)
    projects = [re.sub(r"\[(.+)\]\(.+\)", r"\1", cell) for cell in heading]
    for title, name in {
        "size of the image, without Python's": "added",
        "building it, nothing cached": "download",
        "building it after an edit of a view": "view",
    }.items():
        for project, cell in zip(projects, table[title], strict=True):
            shown = cell.split()[0]
            assert f"{figures[project][name]:.{len(shown.partition('.')[2])}f}" == shown, f"{title}: {project}"
