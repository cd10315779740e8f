"""The engine by hand: ``python3 -m tests.engine start|stop|status|env|images NAME...``."""

from __future__ import annotations

import argparse
import os
import shlex
import sys

from .debian import EngineError
from .engine import OVERRIDES, describe, ensure_engine, find_engine, stop_engine
from .images import ensure_image


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.engine", description="The Docker engine that the tests talk to."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("start", help="find an engine, or set a private one up")
    commands.add_parser("stop", help="stop the private engine and its containers")
    commands.add_parser("status", help="say which engine answers; exit 1 if none does")
    commands.add_parser("env", help='print exports for: eval "$(python3 -m tests.engine env)"')
    images = commands.add_parser("images", help="make base images available")
    images.add_argument("names", nargs="+", metavar="NAME")
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except (EngineError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(options: argparse.Namespace) -> int:
    match options.command:
        case "start":
            print(describe(ensure_engine()))
        case "stop":
            stop_engine()
        case "status":
            found = find_engine()
            print(describe(found) if found else "No Docker engine answers.")
            return 0 if found else 1
        case "env":
            engine = ensure_engine()
            if engine.private:
                for name in OVERRIDES:
                    if name in os.environ:
                        print(f"unset {name}")
                for name in ("DOCKER_HOST", "DOCKER_CONFIG"):
                    print(f"export {name}={shlex.quote(engine.env[name])}")
                binaries = engine.env["PATH"].split(":")[0]
                if os.environ.get("PATH", "").split(":")[0] != binaries:
                    print(f'export PATH={shlex.quote(binaries)}:"$PATH"')
        case "images":
            engine = ensure_engine()
            for name in options.names:
                print(ensure_image(engine, name), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
