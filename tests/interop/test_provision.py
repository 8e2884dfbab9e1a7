"""Virtual hosts and users for clients' own tests: in an amqpd by its command line, elsewhere by the management API."""

import json
import re
import subprocess
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from interop.broker import Broker, CannotDo
from interop.conformance.broker import target_from_url
from interop.conformance.client import Channel, Client
from interop.own_tests.provision import NOTHING, Access, provided

POLL_SECONDS = 0.01
ACCESSES = (
    Access("worker", "secret", "shop"),
    Access("worker", "secret", "store"),
    Access("reader", "glasses", "shop", configure=NOTHING, write=NOTHING),
)


@pytest.fixture(scope="module")
def filled(amqpd: Broker) -> Iterator[Broker]:
    with provided(amqpd, ACCESSES):
        yield amqpd


@contextmanager
def channel_of(broker: Broker, user: str, password: str, vhost: str) -> Iterator[Channel]:
    with Client(target_from_url(broker.url)) as client:
        yield client.connect(user=user, password=password, vhost=vhost).channel()


@pytest.mark.parametrize(
    ("user", "password", "vhost"),
    [
        ("worker", "secret", "shop"),
        ("worker", "secret", "store"),
        ("guest", "guest", "shop"),
        ("guest", "guest", "store"),
    ],
)
def test_a_user_may_do_in_a_vhost_what_was_asked_for(filled: Broker, user: str, password: str, vhost: str) -> None:
    with channel_of(filled, user, password, vhost) as channel:
        queue = channel.call("queue.declare", exclusive=True)["queue"]
        channel.publish("", queue, b"x")
        assert channel.drain(queue) == [b"x"]


def test_a_user_may_not_do_what_was_not_asked_for(filled: Broker) -> None:
    with channel_of(filled, "guest", "guest", "shop") as other:
        other.call("queue.declare", queue="news")
        with channel_of(filled, "reader", "glasses", "shop") as channel:
            assert channel.drain("news") == []
            channel.refused(403, re.compile("queue 'new' in vhost 'shop' refused"), "queue.declare", queue="new")
        other.call("queue.delete", queue="news")


def test_a_user_has_no_other_vhost_and_no_other_password(filled: Broker) -> None:
    with Client(target_from_url(filled.url)) as client:
        client.greet()
        client.login(user="reader", password="glasses")
        client.tune()
        client.send("connection.open", virtual_host="store")
        assert client.expect_close_frame()["reply_code"] == 530
    with Client(target_from_url(filled.url)) as client:
        client.greet()
        client.login(user="worker", password="wrong")
        assert client.expect_close_frame()["reply_code"] == 403


def test_what_is_there_already_is_refused(filled: Broker) -> None:
    with pytest.raises(subprocess.CalledProcessError), provided(filled, ACCESSES[:1]):
        pytest.fail("the block was entered")


# ---- a broker that runs elsewhere


@contextmanager
def management_api(*refused: str) -> Iterator[tuple[Broker, list[str]]]:
    """A broker elsewhere and what its management API is asked; paths that end as ``refused`` are answered with 400."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = urllib.parse.unquote(self.path.removeprefix("/api/"))
            if self.command != "GET":
                seen.append(f"{self.command} {path}" + (f" {json.loads(body)}" if body else ""))
            self.send_response(400 if path.endswith(refused) else 204)
            self.end_headers()

        do_GET = do_PUT = do_DELETE = answer

        def log_message(self, *_words: object) -> None:
            """Nothing is said on standard error."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server, pytest.MonkeyPatch.context() as patch:
        Thread(target=server.serve_forever, args=(POLL_SECONDS,), daemon=True).start()
        patch.setenv("RABBITMQ_MANAGEMENT_URL", f"http://127.0.0.1:{server.server_port}")
        try:
            yield Broker("amqp://guest:guest@127.0.0.1:1/"), seen
        finally:
            server.shutdown()


def test_elsewhere_all_is_made_before_the_block_and_gone_after_it() -> None:
    with management_api() as (broker, seen), provided(broker, ACCESSES):
        made = list(seen)
        seen.clear()
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    assert made == [
        "PUT vhosts/shop",
        "PUT vhosts/store",
        "PUT users/worker {'password': 'secret', 'tags': ''}",
        "PUT users/reader {'password': 'glasses', 'tags': ''}",
        f"PUT permissions/shop/worker {everything}",
        f"PUT permissions/store/worker {everything}",
        f"PUT permissions/shop/reader {everything | {'configure': '^$', 'write': '^$'}}",
        f"PUT permissions/shop/guest {everything}",
        f"PUT permissions/store/guest {everything}",
    ]
    assert seen == ["DELETE vhosts/shop", "DELETE vhosts/store", "DELETE users/worker", "DELETE users/reader"]


def test_elsewhere_all_is_gone_after_a_block_that_fails() -> None:
    with management_api() as (broker, seen), pytest.raises(ZeroDivisionError), provided(broker, ACCESSES[:1]):
        raise ZeroDivisionError
    assert seen[-2:] == ["DELETE vhosts/shop", "DELETE users/worker"]


def test_elsewhere_what_was_made_before_a_refusal_is_gone_after_it() -> None:
    with (
        management_api("permissions/shop/worker") as (broker, seen),
        pytest.raises(OSError, match="400"),
        provided(broker, ACCESSES[:1]),
    ):
        pytest.fail("the block was entered")
    assert seen[-2:] == ["DELETE vhosts/shop", "DELETE users/worker"]


def test_a_broker_without_management_api_cannot_be_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABBITMQ_MANAGEMENT_URL", "http://127.0.0.1:1")
    with pytest.raises(CannotDo, match="management URL"), provided(Broker("amqp://guest:guest@127.0.0.1:2/"), ACCESSES):
        pytest.fail("the block was entered")
