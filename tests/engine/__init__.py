"""A Docker engine for the tests, and stand-ins for base images that no registry can give. See README.md."""

from __future__ import annotations

from .debian import EngineError
from .engine import Engine, ensure_engine, stop_engine
from .images import Image, ImageUnavailable, Source, change_package_cache, ensure_image, reuse_bytecode
from .kubectl import ensure_kubectl

__all__ = [
    "Engine",
    "EngineError",
    "Image",
    "ImageUnavailable",
    "Source",
    "change_package_cache",
    "ensure_engine",
    "ensure_image",
    "ensure_kubectl",
    "reuse_bytecode",
    "stop_engine",
]
