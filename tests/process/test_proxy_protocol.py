"""PROXY headers, versions 1 and 2, on a real listener."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from tests.process.broker_process import BrokerProcess
from tests.process.client import PROTOCOL_HEADER, Client, Closed, connect

V1 = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 5672\r\n"
V1_IPV6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 5672\r\n"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def version_2(command: int, family: int, addresses: bytes) -> bytes:
    return SIGNATURE + bytes((0x20 | command, family)) + struct.pack(">H", len(addresses)) + addresses


TCP4 = bytes((192, 0, 2, 7, 192, 0, 2, 1)) + struct.pack(">HH", 4711, 5672)
TCP6 = socket.inet_pton(socket.AF_INET6, "2001:db8::7") * 2 + struct.pack(">HH", 4711, 5672)
MORE = b"\x03\x00\x04abcd"  # a type-length-value behind the addresses


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    one = BrokerProcess(
        tmp_path_factory.mktemp("proxied"),
        {
            "listeners": {"proxy_protocol": True, "tls_handshake_timeout": 60},
            "auth": {"loopback_users": []},
        },
    )
    try:
        one.start()
        yield one
        one.stop()
    finally:
        one.close()


def behind(broker: BrokerProcess, header: bytes, piece: int = 1 << 20) -> Client:
    sock = connect(broker.port)
    for at in range(0, len(header), piece):
        sock.sendall(header[at : at + piece])
    return Client(broker.port, sock=sock, name="behind")


@pytest.mark.parametrize("piece", [1 << 20, 1, 7])
@pytest.mark.parametrize(
    ("header", "peer"),
    [
        (V1, "192.0.2.7:4711"),
        (V1_IPV6, "[2001:db8::7]:4711"),
        (version_2(1, 0x11, TCP4), "192.0.2.7:4711"),
        (version_2(1, 0x11, TCP4 + MORE), "192.0.2.7:4711"),
        (version_2(1, 0x21, TCP6), "[2001:db8::7]:4711"),
        (version_2(1, 0x21, TCP6 + bytes(5000)), "[2001:db8::7]:4711"),
    ],
)
def test_the_address_in_the_header_is_the_clients(proxied: BrokerProcess, header: bytes, peer: str, piece: int) -> None:
    with behind(proxied, header, piece) as client:
        client.echo()
        names = [row["name"] for row in proxied.ask("connections list")]
        assert any(str(name).startswith(f"{peer} -> ") for name in names), names


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", version_2(0, 0, b""), version_2(1, 0, b"")])
def test_a_header_without_an_address_leaves_the_sockets_own(proxied: BrokerProcess, header: bytes) -> None:
    with behind(proxied, header) as client:
        client.echo()
        assert any(str(row["name"]).startswith("127.0.0.1:") for row in proxied.ask("connections list"))


@pytest.mark.parametrize(
    "header",
    [
        PROTOCOL_HEADER,
        b"PROXY TCP4 192.0.2.7\r\n",
        b"PROXY TCP4 here there 1 2\r\n",
        b"PROXY TCP4 " + b"1" * 200,
        SIGNATURE + b"\x31\x11\x00\x00",
        version_2(1, 0x11, b"\x01\x02"),
    ],
)
def test_no_header_or_a_malformed_one_is_closed(proxied: BrokerProcess, header: bytes) -> None:
    with behind(proxied, V1) as bystander:
        with connect(proxied.port) as sock:
            sock.sendall(header)
            with contextlib.suppress(ConnectionError):
                assert sock.recv(100) == b""
        bystander.echo()
    proxied.wait_log("PROXY header")


def test_half_a_header_is_cut_off_after_a_while(make_broker: Callable[..., BrokerProcess]) -> None:
    broker = make_broker({"listeners": {"proxy_protocol": True, "tls_handshake_timeout": 0.5}})
    broker.start()
    with connect(broker.port) as sock:
        sock.sendall(V1[:20])
        assert sock.recv(1) == b""
    broker.wait_log("PROXY header timeout")
    broker.stop()


def test_a_user_for_this_machine_only_does_not_come_in_from_elsewhere(proxied: BrokerProcess) -> None:
    proxied.reload({"listeners": {"proxy_protocol": True}, "auth": {"loopback_users": ["guest"]}})
    with pytest.raises(Closed) as closed:
        behind(proxied, V1)
    assert closed.value.code == 403
    # Not ::1, though it begins like it.
    with pytest.raises(Closed):
        behind(proxied, b"PROXY TCP6 ::1234 ::1 4711 5672\r\n")
    for local in (b"PROXY TCP4 127.3.2.1 127.0.0.1 4711 5672\r\n", b"PROXY TCP6 ::1 ::1 4711 5672\r\n"):
        behind(proxied, local).close()
