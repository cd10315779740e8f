"""kubectl, which builds kustomizations without any cluster."""

from __future__ import annotations

import shutil
from pathlib import Path

from .debian import EngineError, cache_root, codename, say, unpack
from .engine import locked


def ensure_kubectl() -> Path:
    """Return a kubectl: on Debian that of testing, unpacked into the cache; elsewhere the machine's own."""
    if not codename():
        if found := shutil.which("kubectl"):
            return Path(found)
        raise EngineError("kubectl is missing: install it as described at https://kubernetes.io/docs/tasks/tools/.")
    root = cache_root().resolve() / "kubectl"
    binary = root / "files" / "usr" / "bin" / "kubectl"
    with locked("kubectl"):
        if not root.is_dir():  # one rename puts it in place: an interrupted download is simply repeated
            say("downloading kubectl from this machine's Debian mirror")
            work = root.with_name("kubectl-setup")
            shutil.rmtree(work, ignore_errors=True)
            unpack("testing", ("kubectl",), work / "files", work / "apt")
            shutil.rmtree(work / "apt")
            work.rename(root)
    if not binary.exists():
        raise EngineError("Debian testing's package kubectl no longer holds it: correct tests/engine/kubectl.py.")
    return binary
