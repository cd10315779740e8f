"""Visitors whose addresses the proxy does not see."""

import logging
from functools import cache
from ipaddress import IPv6Address
from pathlib import Path

from django.http import HttpRequest

from ops.env import GATEWAYS

logger = logging.getLogger(__name__)


ROUTES = Path("/proc/net/ipv6_route")


@cache
def routers() -> set[str]:
    """Return the addresses of this container's IPv6 routers: Docker's gateway."""
    lines = ROUTES.read_text(encoding="ascii").splitlines() if ROUTES.exists() else []
    routes = [line.split() for line in lines]
    hops = [int(hop, 16) for to, bits, _, _, hop, *_ in routes if not int(to + bits, 16)]
    return {str(IPv6Address(hop)) for hop in hops if hop}


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
    if shared := address in GATEWAYS or bool(GATEWAYS and address in routers()):
        warn(address)
    return shared
