"""Every combination's production image builds, and holds what it should and nothing else."""

from __future__ import annotations

import json
from typing import Any

from tests import matrix
from tests.conftest import CANARY
from tests.project import Project

# What an image may add to its base, in MB: more than each does now, and less than with a compiler or a cache in it.
LARGEST = 140
# Runs inside the image, as its user, and tells about it.
LOOK = r"""
import importlib.util, json, os, shutil, subprocess
from pathlib import Path
writable = [str(path) for root in ("/app", "/opt", "/srv", "/usr") for folder, names, files in os.walk(root)
            for path in map(Path(folder).joinpath, ["", *files]) if not path.is_symlink() and os.access(path, os.W_OK)]
unreadable = [str(path) for path in Path("/app").rglob("*") if not os.access(path, os.R_OK)]
print(json.dumps({
    "uid": os.getuid(),
    "tools": [tool for tool in ("gcc", "cc", "make", "git", "uv") if shutil.which(tool)],
    "modules": [module for module in ("pytest", "mypy", "ruff", "uv") if importlib.util.find_spec(module)],
    "writable": writable,
    "unreadable": unreadable,
    "app": sorted(os.listdir("/app")),
    "canary": subprocess.run(["grep", "-rlsF", "CANARY", "/app", "/opt", "/srv", "/etc", "/home", "/tmp"],
                             capture_output=True, text=True).stdout.split(),
}))
""".replace("CANARY", CANARY)


def test_it_builds(project: Project, built: dict[str, Any], record: Any) -> None:
    base = project.inspect(matrix.images(project.combination)[0])["Size"]
    added = (built["Size"] - base) / 1e6
    assert added < LARGEST
    record("build s", f"{built['seconds']:.1f}")
    record("added MB", f"{added:.1f}")
    record("image MB", f"{built['Size'] / 1e6:.0f}")


def test_its_configuration(project: Project, built: dict[str, Any]) -> None:
    config = built["Config"]
    user, _, group = config["User"].partition(":")
    assert user.isdecimal()
    assert group.isdecimal()
    assert int(user) > 0
    assert config["Cmd"][0] == "python", "the command is in exec form, without a shell"
    assert not config["Entrypoint"]
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert list(config["ExposedPorts"]) == ["8000/tcp"]
    assert config["Labels"]["org.opencontainers.image.title"] == project.combination.data["project_name"]


def test_its_content(project: Project, built: dict[str, Any]) -> None:
    seen = json.loads(project.docker("run", "--rm", "--entrypoint", "python", project.slug, "-c", LOOK))
    assert str(seen["uid"]) == built["Config"]["User"].partition(":")[0]
    assert seen["tools"] == []
    assert seen["modules"] == []
    assert seen["writable"] == [], "the site must not be able to change its own code"
    assert seen["unreadable"] == []
    assert seen["canary"] == []
    assert not {".env", ".git", ".venv", "tests", "compose.yaml"} & set(seen["app"])


def test_no_secret_in_its_history(project: Project, built: dict[str, Any]) -> None:
    history = project.docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", str(built["Id"]))
    assert "collectstatic" in history or project.combination.answers["multi_stage"]
    assert CANARY not in history
    assert "SECRET_KEY=" not in history


def test_a_code_edit_keeps_every_layer_but_the_code(project: Project, built: dict[str, Any]) -> None:
    view = project.path / "config" / "views.py"
    text = view.read_text(encoding="utf-8")
    edited = f"{project.slug}:edited"
    try:
        view.write_text(text + "\n# edited\n", encoding="utf-8")
        project.docker("build", "--quiet", "--tag", edited, ".")
    finally:
        view.write_text(text, encoding="utf-8")
    layers = project.inspect(edited)["RootFS"]["Layers"]
    project.docker("image", "rm", edited)
    before = built["RootFS"]["Layers"]
    assert len(layers) == len(before)
    assert [index for index, layer in enumerate(layers) if layer != before[index]] == [len(layers) - 1]
