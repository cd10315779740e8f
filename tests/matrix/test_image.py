"""Every combination's production image builds, and contains what it should and nothing else."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.engine.engine import locked
from tests.support import matrix
from tests.support.images import CANARY, largest
from tests.support.project import Project


def test_it_builds(project: Project, built: dict[str, Any], record: Any) -> None:
    base = project.inspect(matrix.images(project.combination)[0])["Size"]
    added = (built["Size"] - base) / 1e6
    assert added <= largest(project.combination.answers)
    record("build s", f"{built['seconds']:.1f}")
    record("added MB", f"{added:.1f}")
    record("image MB", f"{built['Size'] / 1e6:.0f}")


def test_its_configuration(project: Project, built: dict[str, Any]) -> None:
    config = built["Config"]
    user, _, group = config["User"].partition(":")
    assert user.isdecimal()
    assert group.isdecimal()
    assert int(user) > 0
    assert config["Cmd"][0] == "python", "the command is not in exec form"
    assert not config["Entrypoint"]
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert list(config["ExposedPorts"]) == ["8000/tcp"]
    assert config["Labels"]["org.opencontainers.image.title"] == project.combination.data["project_name"]


def test_no_secret_in_its_history(project: Project, built: dict[str, Any]) -> None:
    history = project.docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", str(built["Id"]))
    assert "collectstatic" in history or project.combination.answers["multi_stage"]
    assert CANARY not in history
    assert "SECRET_KEY=" not in history


@pytest.mark.covering(strength=2)
def test_a_code_edit_keeps_every_layer_but_the_code(project: Project, built: dict[str, Any]) -> None:
    view = project.path / "config" / "views.py"
    text = view.read_text(encoding="utf-8")
    edited = f"{project.slug}:edited"
    layers = built["RootFS"]["Layers"]
    seen: list[list[str]] = []
    # One at a time, because BuildKit joins steps of builds that run at the same time.
    with locked("code-edit"):
        try:
            # Of concurrent first builds with equal steps, BuildKit keeps several results, and takes any of them.
            for _ in range(12):
                seen.append(layers)
                # Different from those of earlier runs: BuildKit knows what it built from them.
                view.write_text(f"{text}\n# edited {time.time_ns()}\n", encoding="utf-8")
                project.docker("build", "--quiet", "--tag", edited, ".")
                layers = project.inspect(edited)["RootFS"]["Layers"]
                if layers[:-1] in [before[:-1] for before in seen]:
                    break
        finally:
            view.write_text(text, encoding="utf-8")
            project.docker("image", "rm", "--force", edited)
    assert layers[:-1] in [before[:-1] for before in seen]
    assert layers[-1] not in [before[-1] for before in seen]
