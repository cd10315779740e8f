#!/usr/local/bin/python
"""Stands in for Syft: lists an image's Python packages in the format that BuildKit expects of a generator."""

import json
import os
from pathlib import Path

packages = sorted(
    path.name.removesuffix(".dist-info") for path in Path(os.environ["BUILDKIT_SCAN_SOURCE"]).rglob("*.dist-info")
)
statement = {
    "_type": "https://in-toto.io/Statement/v0.1",
    "predicateType": "https://spdx.dev/Document",
    "predicate": {
        "spdxVersion": "SPDX-2.3",
        "SPDXID": "SPDXRef-DOCUMENT",
        "packages": [{"SPDXID": f"SPDXRef-{name}", "name": name} for name in packages],
    },
}
Path(os.environ["BUILDKIT_SCAN_DESTINATION"], "sbom.spdx.json").write_text(json.dumps(statement), encoding="utf-8")
