"""Added by the stand-in, for py_compile.py: tests/engine/README.md says why."""

import hashlib
import importlib.machinery
import marshal
import os
import sys
import tempfile
from types import CodeType

_KNOWN = "/root/.cache/uv/compiled-before"


def source_to_code(
    loader: importlib.machinery.SourceFileLoader, source: bytes, path: str, *, _optimize: int
) -> CodeType:
    """Return a source file's code object, from an earlier build if one has compiled the same file for the same path."""
    if not os.path.isdir(_KNOWN):
        return loader.source_to_code(source, path, _optimize=_optimize)
    key = repr((sys.version, path, _optimize)).encode() + source
    known = os.path.join(_KNOWN, hashlib.sha256(key).hexdigest())
    try:
        with open(known, "rb") as file:
            code: CodeType = marshal.load(file)
    except FileNotFoundError:
        code = loader.source_to_code(source, path, _optimize=_optimize)
        with tempfile.NamedTemporaryFile(dir=_KNOWN, delete=False) as new:
            marshal.dump(code, new)
        os.replace(new.name, known)  # whole, however many builds write it
    return code
