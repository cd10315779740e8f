#!/usr/local/bin/python
"""Stands in for Grype: checks how it is called, and reports what the checkout's file `vulnerable` names."""

import json
import os
import sys
import tarfile
from pathlib import Path

[source, *options] = sys.argv[1:]
assert options == ["--only-fixed", "--fail-on", "high"], options
assert source.startswith("docker-archive:"), source
assert Path.cwd() == Path("/src")
# A real scanner must not get these.
assert not Path("/var/run/docker.sock").exists()
assert not os.access("/src", os.W_OK) or not os.access("/src/Makefile", os.W_OK)
assert not any("TOKEN" in name or "DOCKER" in name for name in os.environ)
with tarfile.open(source.removeprefix("docker-archive:")) as archive:
    manifest = archive.extractfile("manifest.json")
    assert manifest
    [image] = json.load(manifest)
    layers = [archive.getmember(name) for name in image["Layers"]]
print(f"{len(layers)} layers, {sum(layer.size for layer in layers)} bytes")
vulnerable = Path("vulnerable")
if vulnerable.exists():
    print(f"{vulnerable.read_text(encoding='utf-8').strip()}  high")
    sys.exit(2)
