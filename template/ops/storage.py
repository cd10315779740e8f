"""Uploads: files on the volume, or objects in the bucket of STORAGE_URL, which ops/bucket.py stores there."""

import os
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

from django.apps import apps
from django.conf import settings
from django.conf.urls.static import static
from django.core.files.storage import default_storage
from django.db.models import FileField
from django.http import FileResponse, HttpRequest
from django.http.response import HttpResponseBase, HttpResponseRedirect
from django.urls import URLPattern, re_path
from django.views.decorators.http import require_safe

# As the proxy does it: pictures are displayed, other files are downloads, and no type runs or is a style.
PICTURES = {f".{kind}": f"image/{kind}" for kind in ("avif", "gif", "jpeg", "png", "webp")} | {".jpg": "image/jpeg"}
DOWNLOADS = {".m4a": "audio/mp4", ".mp3": "audio/mpeg", ".mp4": "video/mp4", ".ogg": "audio/ogg"}
DOWNLOADS |= {".svg": "image/svg+xml", ".wav": "audio/wav", ".webm": "video/webm"}
SECONDS = 600  # for which an address in the bucket is valid
bucket: Any = default_storage  # an ops.bucket.Bucket, if `in_bucket`


class StorageError(OSError):
    """The bucket cannot be used, in one sentence."""


def headers(name: str) -> tuple[str, str]:
    """Return the Content-Type and the Content-Disposition with which an upload of that name is sent."""
    end = PurePath(name).suffix.lower()
    kind = PICTURES.get(end) or DOWNLOADS.get(end, "application/octet-stream")
    return kind, "inline" if end in PICTURES else "attachment"


def urls() -> list[URLPattern]:
    """Return the URLs of uploads, none where the proxy serves them."""
    if not in_bucket():
        return static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT)
    return [re_path(r"^media/(?P<name>[^\0]+)$", serve)]


@require_safe
def serve(request: HttpRequest, name: str) -> HttpResponseBase:
    """Redirect to the upload in the bucket, by an address that expires; send it if it is still on the volume."""
    kind, disposition = headers(name)
    root = Path(settings.MEDIA_ROOT).resolve()
    path = (root / name).resolve()
    response: HttpResponseBase
    with suppress(OSError):
        if path.is_relative_to(root):
            response = FileResponse(path.open("rb"), content_type=kind, as_attachment=disposition == "attachment")
            response["Content-Security-Policy"] = "default-src 'none'; sandbox"
            return response
    response = HttpResponseRedirect(bucket.signed_url(name, request.method))
    response["Cache-Control"] = f"private, max-age={SECONDS // 2}"  # the rest is for the download to begin
    return response


def in_bucket() -> bool:
    """Return whether uploads are in a bucket, or on their way into or out of it."""
    return str(settings.STORAGES["default"]["BACKEND"]).startswith("ops.bucket.")


def problem() -> str:
    """Return why uploads cannot be stored or would be lost, "" if neither. With a bucket, this asks it."""
    if in_bucket():
        return str(bucket.problem())
    fields = (field for model in apps.get_models() for field in model._meta.get_fields())
    if not any(isinstance(field, FileField) for field in fields):
        return ""
    root = Path(settings.MEDIA_ROOT)
    if not os.access(next(each for each in (root, *root.parents) if each.exists()), os.W_OK):
        return f"{root} cannot be written, so every upload fails. Set STORAGE_URL, or mount a volume there."
    if int(os.environ.get("NODES", "1")) > 1:  # set where several can run the site
        return "each node has a volume of its own, so containers on other nodes lack an upload. Set STORAGE_URL."
    return ""
