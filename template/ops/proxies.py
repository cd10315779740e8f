"""Visitors whose addresses the proxy does not see."""

import logging
from functools import cache

from django.http import HttpRequest

from ops.env import GATEWAYS

logger = logging.getLogger(__name__)


@cache
def warn(address: str) -> None:
    """Log, once per process, that visitors share an address."""
    logger.warning(
        "Visitors share the address of Docker's gateway, %s, so wrong passwords do not lock it out.",
        address,
    )


def has_shared_address(request: HttpRequest, credentials: object = None) -> bool:
    """Tell whether a lockout would hit other visitors: without IPv6, Docker gives them all its gateway's address."""
    address = request.META.get("REMOTE_ADDR", "")
    if shared := address in GATEWAYS:
        warn(address)
    return shared
