"""Visitors whose addresses the proxy does not see."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import RequestFactory

from ops import proxies

ZERO = "0" * 32
ROUTES = f"""\
fd000000000000010000000000000000 40 {ZERO} 00 {ZERO} 00000100 00000001 00000000 00000001     eth0
{ZERO} 00 {ZERO} 00 fd000000000000010000000000000001 00000400 00000001 00000000 00000003     eth0
{ZERO} 00 {ZERO} 00 {ZERO} ffffffff 00000001 00000000 00200200       lo
"""


@pytest.fixture(autouse=True)
def _routes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Pretend to be in a network with IPv6."""
    (tmp_path / "routes").write_text(ROUTES, encoding="ascii")
    monkeypatch.setattr(proxies, "ROUTES", tmp_path / "routes")
    proxies.routers.cache_clear()
    yield
    proxies.routers.cache_clear()


@pytest.mark.parametrize(
    ("address", "gateways", "shared"),
    [
        ("10.1.2.1", {"10.1.2.1"}, True),
        ("fd00:0:0:1::1", {"10.1.2.1"}, True),
        ("fd00:0:0:1::2", {"10.1.2.1"}, False),
        ("2001:db8::1", {"10.1.2.1"}, False),
        ("fd00:0:0:1::1", set(), False),  # not behind Docker's proxy
    ],
)
def test_dockers_gateway_is_shared(
    address: str, gateways: set[str], shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxies, "GATEWAYS", gateways)
    assert proxies.has_shared_address(RequestFactory(REMOTE_ADDR=address).get("/")) is shared
