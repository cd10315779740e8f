"""Logins: limits for guessing that lock no one else out, and for the threads that hash passwords."""

import logging
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Network, ip_address
from threading import BoundedSemaphore
from typing import Any

from axes.attempts import get_cool_off_threshold
from axes.handlers.database import AxesDatabaseHandler
from axes.helpers import get_client_username
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.db.models import Q, Sum
from django.http import HttpRequest, HttpResponse

from ops.env import THREADS, number
from ops.logs import user_id
from ops.pages import error

ADDRESS_LIMIT = number("LOGIN_ADDRESS_LIMIT", default=30, minimum=1)
NAME_LIMIT = number("LOGIN_NAME_LIMIT", default=50, minimum=1)
TOTAL_LIMIT = number("LOGIN_TOTAL_LIMIT", default=1000, minimum=1)
# Wrong passwords that an address may send once others have reached one of the last two: a typo, and no more.
UNDER_ATTACK = 2

logger = logging.getLogger(__name__)
places = BoundedSemaphore(max(1, THREADS // 2))


class BusyError(Exception):
    """So many passwords are being hashed that this one would take a thread from the rest of the site."""


class Hasher(PBKDF2PasswordHasher):
    """Django's default hasher, for at most half of a process's threads at a time: a hash takes half a second."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        """Hash a password; BusyError if there is no thread for it."""
        if not places.acquire(blocking=False):
            raise BusyError
        try:
            return super().encode(password, salt, iterations)
        finally:
            places.release()


def network_of(request: HttpRequest) -> str | None:
    """Return the address that failed logins are counted for. For IPv6 it is the /64 network, which one client owns."""
    sent = request.META.get("REMOTE_ADDR", "")
    if sent.startswith("[") or sent.count(":") == 1:  # some proxies add the port
        sent = sent.rpartition(":")[0].strip("[]")
    try:
        address = ip_address(sent)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or IPv6Network((address.packed, 64), strict=False).network_address)


class Limits(AxesDatabaseHandler):  # type: ignore[misc]
    """Count failed logins for a name and an address, for the address, for the name, and in all.

    The first two limits refuse further logins. The others, which many addresses can reach together, only reduce what
    one address may do: with the right password, a user at another address can always sign in.
    """

    def get_failures(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        """Return a number that reaches AXES_FAILURE_LIMIT if this login must be refused."""
        address = Q(ip_address=request.axes_ip_address)  # type: ignore[attr-defined]
        name = Q(username=get_client_username(request, credentials))
        counts = {"both": name & address, "address": address, "name": name, "all": Q()}
        sums = {each: Sum("failures_since_start", filter=which, default=0) for each, which in counts.items()}
        found = AccessAttempt.objects.filter(attempt_time__gte=get_cool_off_threshold(request)).aggregate(**sums)
        limits = {"both": settings.AXES_FAILURE_LIMIT, "address": ADDRESS_LIMIT}
        if found["name"] >= NAME_LIMIT:
            limits["both"] = UNDER_ATTACK
        if found["all"] >= TOTAL_LIMIT:
            limits["address"] = UNDER_ATTACK
        refused = any(found[each] >= limit for each, limit in limits.items())
        return int(settings.AXES_FAILURE_LIMIT) if refused else 0

    def user_login_failed(
        self, sender: object, credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any
    ) -> None:
        """Count a failed login, and log the one that reaches a limit."""
        before = getattr(request, "axes_locked_out", False)
        super().user_login_failed(sender, credentials, request, **kwargs)
        if request and not before and getattr(request, "axes_locked_out", False):
            lockout = {
                "username": get_client_username(request, credentials),
                "address": request.axes_ip_address,  # type: ignore[attr-defined]
            }
            logger.warning("Too many wrong logins as %(username)s from %(address)s", lockout, extra=lockout)


class Middleware:
    """Keep what is somebody's out of caches, and answer the errors that are no fault of the site."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Wrap the next middleware."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Pass the request on; a response to a signed-in user is not stored unless its view says otherwise."""
        response = self.get_response(request)
        if user_id(request) is not None and not response.has_header("Cache-Control"):
            response["Cache-Control"] = "no-store"
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer 503 if the site is too busy to hash a password, and 400 to JSON that is nested too deeply."""
        if isinstance(exception, BusyError):
            return error(request, 503)
        if isinstance(exception, RecursionError) and "decoding a JSON" in str(exception):
            return error(request, 400)
        return None
