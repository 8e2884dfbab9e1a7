"""TLS listeners: passwords and client certificates over TLS, and peers that do something else."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from tests.process.broker_process import BrokerProcess, Config, free_port
from tests.process.client import PROTOCOL_HEADER, Client, Closed, connect

Make = Callable[..., BrokerProcess]

MIB = 1 << 20


class Certificates:
    """An authority, and files for a broker that trusts it and is trusted by its clients."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = trustme.CA()
        self.authority.cert_pem.write_to_path(str(directory / "ca.pem"))
        self.renew()

    def renew(self) -> None:
        """A new certificate for the broker, in the same files."""
        issued = self.authority.issue_cert("127.0.0.1", "localhost")
        issued.private_key_pem.write_to_path(str(self.directory / "key.pem"))
        (self.directory / "cert.pem").write_bytes(b"".join(one.bytes() for one in issued.cert_chain_pems))

    def settings(self, **more: object) -> dict[str, object]:
        paths = {"certificate": "cert.pem", "key": "key.pem", "ca": "ca.pem"}
        return {**{key: str(self.directory / name) for key, name in paths.items()}, **more}

    def client_context(self, issued: trustme.LeafCert | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if issued is not None:
            issued.configure_cert(context)
        return context


class TlsBroker:
    """A broker with a TLS listener beside the plain one."""

    def __init__(self, make: Make, certificates: Certificates, *, handshake_seconds: float = 60, **tls: object) -> None:
        self.certificates = certificates
        self.port = free_port()
        self.handshake_seconds = handshake_seconds
        self.tls = tls
        self.broker = make(self.config())
        self.broker.start()

    def config(self) -> Config:
        return {
            "listeners": {"tls": [f"127.0.0.1:{self.port}"], "tls_handshake_timeout": self.handshake_seconds},
            "tls": self.certificates.settings(**self.tls),
            "auth": {"mechanisms": ["PLAIN", "EXTERNAL"]},
        }

    def connect(self, issued: trustme.LeafCert | None = None, **options: object) -> Client:
        context = self.certificates.client_context(issued)
        sock = context.wrap_socket(connect(self.port), server_hostname="127.0.0.1")
        return Client(self.port, sock=sock, **options)  # type: ignore[arg-type]

    def external(self, issued: trustme.LeafCert) -> Client:
        return self.connect(issued, mechanism="EXTERNAL", response=b"")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def plain_tls(make_broker: Make, certificates: Certificates) -> Iterator[TlsBroker]:
    one = TlsBroker(make_broker, certificates)
    yield one
    one.broker.stop()


def test_a_password_and_messages_of_all_sizes_go_over_tls(plain_tls: TlsBroker) -> None:
    with plain_tls.connect() as client:
        client.declare("q")
        client.confirm_select()
        for size in (0, 1, 16_384, 131_064, 131_065, MIB, 16 * MIB):
            content = bytes(range(256)) * (size // 256) + bytes(size % 256)
            client.put("q", content)
            message = client.get("q")
            assert message is not None
            assert message.body == content
        client.close()


def test_many_messages_go_both_ways_over_tls_at_once(plain_tls: TlsBroker) -> None:
    count, size = 300, 100_000
    with plain_tls.connect() as consumer, plain_tls.connect() as publisher:
        consumer.declare("q", durable=False)
        consumer.consume("q", no_ack=True)

        def publish() -> None:
            for number in range(count):
                publisher.publish("q", b"%d" % number + bytes(size), persistent=False)

        sender = threading.Thread(target=publish)
        sender.start()
        for number in range(count):
            assert consumer.receive().body == b"%d" % number + bytes(size)
        sender.join()


def test_a_consumer_that_stops_reading_over_tls_gets_everything_in_the_end(plain_tls: TlsBroker) -> None:
    with plain_tls.connect() as consumer, plain_tls.connect() as publisher:
        publisher.declare("q", durable=False)
        consumer.consume("q", no_ack=True)
        publisher.confirm_select()
        for number in range(400):
            publisher.publish("q", b"%d" % number + bytes(50_000), persistent=False)
        publisher.wait_confirms()
        assert publisher.count("q") > 0  # the broker holds back what the consumer does not read
        assert [consumer.receive().body[:3].rstrip(b"\0") for _ in range(400)] == [b"%d" % n for n in range(400)]


def test_other_things_than_tls_are_closed_and_harm_nobody(plain_tls: TlsBroker) -> None:
    with plain_tls.connect() as bystander:
        for garbage in (
            PROTOCOL_HEADER,
            b"GET / HTTP/1.1\r\n\r\n",
            bytes(1000),
            b"\x16\x03\x01\xff\xff" + bytes(9000),
        ):
            with connect(plain_tls.port) as sock:
                sock.sendall(garbage)
                with contextlib.suppress(ConnectionError):
                    while sock.recv(4096):
                        pass
            bystander.echo()
    plain_tls.broker.wait_log("TLS: ")


def test_a_slow_tls_handshake_is_cut_off(make_broker: Make, certificates: Certificates) -> None:
    one = TlsBroker(make_broker, certificates, handshake_seconds=0.5)
    with connect(one.port) as silent, connect(one.port) as slow:
        slow.sendall(b"\x16\x03\x01\x02")
        assert silent.recv(1) == b""
        assert slow.recv(1) == b""
    one.broker.wait_log("TLS handshake timeout", times=2)
    one.broker.stop()


def test_a_client_that_ends_tls_in_order_is_gone(plain_tls: TlsBroker) -> None:
    client = plain_tls.connect()
    assert isinstance(client.sock, ssl.SSLSocket)
    client.sock.unwrap().close()
    plain_tls.broker.wait_log("client unexpectedly closed TLS session")


def test_new_certificates_count_after_sighup_and_old_connections_go_on(plain_tls: TlsBroker) -> None:
    with plain_tls.connect() as old:
        assert isinstance(old.sock, ssl.SSLSocket)
        plain_tls.certificates.renew()
        plain_tls.broker.reload()
        with plain_tls.connect() as new:
            assert isinstance(new.sock, ssl.SSLSocket)
            assert old.sock.getpeercert(True) != new.sock.getpeercert(True)
            new.echo()
        old.echo()


def test_bad_certificates_at_sighup_keep_the_old_ones(plain_tls: TlsBroker) -> None:
    file = plain_tls.certificates.directory / "cert.pem"
    file.write_text("no certificate")
    plain_tls.broker.reload()
    plain_tls.broker.wait_log("configuration not reloaded")
    with plain_tls.connect() as client:
        client.echo()
    plain_tls.certificates.renew()


def test_bad_certificates_at_the_start_are_one_line(make_broker: Make, certificates: Certificates) -> None:
    broker = make_broker(
        {
            "listeners": {"tls": [f"127.0.0.1:{free_port()}"]},
            "tls": {**certificates.settings(), "key": str(certificates.directory / "ca.pem")},
        }
    )
    broker.launch()
    assert broker.wait() == 1
    assert "tls.key" in broker.log().splitlines()[-1]
    assert "Traceback" not in broker.log()


def test_a_certificate_is_a_login_by_common_name(make_broker: Make, certificates: Certificates) -> None:
    one = TlsBroker(make_broker, certificates, verify="peer", login_from="common_name")
    one.broker.add_user("ann", "unused")
    with one.external(certificates.authority.issue_cert("x", common_name="ann")) as client:
        assert "EXTERNAL" in str(client.start.mechanisms)
        client.echo()
    assert json.loads(one.broker.command_line("users", "list", "--json"))
    assert "user 'ann' authenticated" in one.broker.log()
    with pytest.raises(Closed) as closed:
        one.external(certificates.authority.issue_cert("x", common_name="eve"))
    assert closed.value.code == 403
    # A certificate is welcome and not demanded: a password does without.
    with one.connect() as client:
        client.echo()
    one.broker.stop()


def test_a_certificate_is_a_login_by_alternative_name(make_broker: Make, certificates: Certificates) -> None:
    one = TlsBroker(
        make_broker, certificates, verify="peer", login_from="subject_alternative_name", login_san_type="dns"
    )
    one.broker.add_user("service.example", "unused")
    with one.external(certificates.authority.issue_cert("service.example", "other.example")) as client:
        client.echo()
    # Where the name is taken from may be changed while the broker runs.
    one.broker.add_user("ann", "unused")
    one.tls["login_from"] = "common_name"
    one.broker.reload(one.config())
    with one.external(certificates.authority.issue_cert("service.example", common_name="ann")) as client:
        client.echo()
    assert "user 'ann' authenticated" in one.broker.log()
    one.broker.stop()


def test_a_client_without_a_certificate_of_ours_does_not_get_in_when_one_is_demanded(
    make_broker: Make, certificates: Certificates
) -> None:
    one = TlsBroker(make_broker, certificates, verify="peer", fail_if_no_peer_cert=True)
    strange = trustme.CA().issue_cert("x", common_name="guest")
    for issued in (None, strange):
        with pytest.raises((Closed, OSError)):
            one.connect(issued)
    with one.connect(certificates.authority.issue_cert("x", common_name="anybody")) as client:
        client.echo()
    one.broker.stop()


def test_external_is_not_for_those_who_show_no_certificate(plain_tls: TlsBroker) -> None:
    with pytest.raises((Closed, OSError)):
        plain_tls.connect(mechanism="EXTERNAL", response=b"guest", seconds=10)
    for client in (Client(plain_tls.broker.port), plain_tls.connect()):
        assert "EXTERNAL" not in str(client.start.mechanisms)
