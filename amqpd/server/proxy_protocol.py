"""The PROXY protocol, versions 1 and 2: who a proxy's client is (specification by HAProxy, revision 2020)."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V1_MAX = 107
HEADER_MAX = 16 + 65535


class ProxyError(Exception):
    """No PROXY header where one must be, or a malformed one."""


class ProxyHeader(NamedTuple):
    """``source``: ``host:port`` of the client, empty when the proxy does not say. ``size``: in octets."""

    source: str
    size: int


def parse(data: bytes) -> ProxyHeader | None:
    """The header at the start of ``data``; None while it is not whole. Raises ProxyError."""
    if data[:12] == SIGNATURE[: len(data)]:
        return _parse_v2(data)
    if b"PROXY "[: len(data)] == data[:6]:
        return _parse_v1(data)
    raise ProxyError("no PROXY header")


def _parse_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, V1_MAX)
    if end < 0:
        if len(data) >= V1_MAX:
            raise ProxyError("PROXY header without an end")
        return None
    words = data[:end].decode("ascii", "replace").split(" ")
    if len(words) >= 2 and words[1] == "UNKNOWN":
        return ProxyHeader("", end + 2)
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise ProxyError("malformed PROXY header")
    try:
        host = ipaddress.ip_address(words[2])
        port = int(words[4])
    except ValueError:
        raise ProxyError("malformed address in PROXY header") from None
    return ProxyHeader(_address(host, port), end + 2)


def _parse_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < 16:
        return None
    version_command, family = data[12], data[13]
    size = 16 + int.from_bytes(data[14:16], "big")
    if version_command >> 4 != 2 or version_command & 0x0F > 1:
        raise ProxyError("unknown version or command in PROXY header")
    if len(data) < size:
        return None
    if version_command & 0x0F == 0:
        return ProxyHeader("", size)  # LOCAL: the proxy's own connection
    width = {0x11: 4, 0x21: 16}.get(family)
    if width is None:
        return ProxyHeader("", size)
    if size < 16 + 2 * width + 4:
        raise ProxyError("PROXY header is too short for its addresses")
    host = ipaddress.ip_address(data[16 : 16 + width])
    port_at = 16 + 2 * width
    return ProxyHeader(_address(host, int.from_bytes(data[port_at : port_at + 2], "big")), size)


def _address(host: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> str:
    return f"[{host}]:{port}" if host.version == 6 else f"{host}:{port}"
