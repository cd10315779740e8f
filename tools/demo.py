"""`make demo`: generate a site with the default answers, build it, start it, and print its address."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.engine import Engine, ensure_engine, ensure_image, stop_engine
from tests.engine.engine import find_engine
from tests.support import matrix
from tests.support.matrix import ROOT
from tests.support.project import get
from tools.errors import said_plainly


def compose(engine: Engine, folder: Path, *arguments: str) -> None:
    """Run `docker compose` in `folder`; CalledProcessError if it fails."""
    owner = folder.stat()
    environment = engine.env | {"HOST_UID": str(owner.st_uid), "HOST_GID": str(owner.st_gid)}
    environment.setdefault("COMPOSE_PROJECT_NAME", "slipway-demo")  # your own site may have the demo's name
    subprocess.run(["docker", "compose", *arguments], cwd=folder, env=environment, check=True)


def start(folder: Path, port: int) -> None:
    """Generate the site into `folder` unless it is there, and start it on `port` of this machine."""
    # Check the port first: a taken one would otherwise only fail after the build.
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            sys.exit(f"Port {port} is in use. Free it (an earlier demo: make demo-stop), or make demo PORT={port + 1}")
    engine = ensure_engine()
    try:
        for image in matrix.images(matrix.default_combination()):
            ensure_image(engine, image)
        if not (folder / ".copier-answers.yml").exists():
            print(f"Generating a site into {folder}", file=sys.stderr)
            copier = [sys.executable, "-m", "copier", "copy", "--quiet", "--defaults", "--vcs-ref", "HEAD"]
            rendered = subprocess.run([*copier, str(ROOT), str(folder)], stderr=subprocess.PIPE, text=True, check=False)
            if rendered.returncode:
                sys.exit(rendered.stderr)
        print("Building and starting it", file=sys.stderr)
        try:
            compose(engine, folder, "--progress", "quiet", "up", "--build", "--detach", "--wait")
        except BaseException:
            compose(engine, folder, "--progress", "quiet", "down", "--timeout", "2")
            raise
        url = f"http://localhost:{port}"
        if (status := get(url).status) != 200:
            sys.exit(f"{url} answered {status}: `docker compose logs` in {folder} shows why.")
    except BaseException:
        if engine.started:
            stop_engine()
        raise
    also = ", and `make engine-stop` the engine" if engine.private else ""
    print(f"The site is up at {url}. `make demo-stop` stops it{also}.")


def stop(folder: Path) -> None:
    """Stop the site in `folder`, and remove its data and its image."""
    engine = find_engine()
    if engine and (folder / "compose.yaml").exists():
        compose(engine, folder, "--progress", "quiet", "down", "--volumes", "--rmi", "local", "--timeout", "2")


def main() -> None:
    """Run `start FOLDER` or `stop FOLDER`."""
    action, folder = sys.argv[1], Path(sys.argv[2]).resolve()
    with said_plainly(interrupted="Interrupted: nothing is left running."):
        if action == "start":
            start(folder, int(os.environ.get("PORT", "8000")))
        else:
            stop(folder)


if __name__ == "__main__":
    main()
