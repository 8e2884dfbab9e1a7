"""A queue that is longer than memory should be: small beside ``bench/backlog``, the same promises."""

from __future__ import annotations

from pathlib import Path

from tests.process.broker_process import BrokerProcess
from tests.process.client import Client, publish_frames

MESSAGES = 60_000
PADDING = b"x" * 1000
WINDOW = 500
# The process with an empty store takes some 45 MiB; the messages alone are 60.
RSS_MAX = 120 << 20


def test_a_long_queue_stays_on_disk_survives_a_restart_and_drains_in_order(broker: BrokerProcess) -> None:
    with Client(broker.port) as client:
        client.declare("backlog")
        client.confirm_select()
        for start in range(0, MESSAGES, WINDOW):
            frames = [publish_frames("backlog", b"%08d" % number + PADDING) for number in range(start, start + WINDOW)]
            client.sock.sendall(b"".join(frames))
            client.published += WINDOW
            client.wait_confirms()
        assert client.count("backlog") == MESSAGES
    assert broker.peak_rss_bytes() < RSS_MAX
    broker.restart()
    assert broker.rss_bytes() < RSS_MAX / 2, "a start reads no messages"
    with Client(broker.port) as client:
        assert client.count("backlog") == MESSAGES
        client.consume("backlog", prefetch=WINDOW)
        for number in range(MESSAGES):
            message = client.receive()
            assert message.body[:8] == b"%08d" % number
            assert not message.redelivered
            if number % 100 == 99:
                client.ack(message.delivery_tag, multiple=True)
        assert client.count("backlog") == 0
    assert broker.peak_rss_bytes() < RSS_MAX


def test_a_get_from_a_queue_that_was_not_read_back_yet_waits_for_its_page(broker: BrokerProcess) -> None:
    with Client(broker.port) as client:
        client.declare("waiting")
        client.confirm_select()
        client.put("waiting", b"one")
        client.put("waiting", b"two")
    broker.restart()
    with Client(broker.port) as client:
        got = [message.body for message in (client.get("waiting"), client.get("waiting")) if message is not None]
        assert got == [b"one", b"two"]
        assert client.get("waiting") is None
    assert Path(broker.data_dir, "amqpd.db").is_file()
