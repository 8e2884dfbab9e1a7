"""Transactions: nothing before the commit, everything in one batch."""

from __future__ import annotations

import pytest

from tests.support.linked import Linked, LinkedClient, method, publication

PERSISTENT = {"delivery_mode": 2}


@pytest.fixture
def client(linked: Linked) -> LinkedClient:
    """Channel 1 is transactional, channel 2 is not."""
    client = linked.client(channels=2)
    client.call("queue.declare", queue="q", durable=True)
    client.call("queue.declare", queue="r", durable=True)
    client.call("tx.select")
    return client


def count(client: LinkedClient, queue: str = "q") -> int:
    return int(client.call("queue.declare", on=2, queue=queue, passive=True)["message_count"])


def test_publishes_reach_their_queues_at_commit(client: LinkedClient) -> None:
    client.publish("", "q", b"x")
    assert count(client) == 0
    client.call("tx.commit")
    assert count(client) == 1


def test_commit_ok_waits_for_the_disk(linked: Linked, client: LinkedClient) -> None:
    client.publish("", "q", b"x", PERSISTENT)
    client.send("tx.commit")
    linked.take()
    assert client.names() == []
    linked.write()
    assert client.names() == ["tx.commit-ok"]


def test_transaction_lies_in_one_batch(linked: Linked, client: LinkedClient) -> None:
    client.feed(publication("", "q", b"old", PERSISTENT, on=2))
    linked.commit()
    client.send("basic.get", queue="q")
    client.expect("basic.get-ok")
    for queue in ("q", "r"):
        client.publish("", queue, b"new", PERSISTENT)
    client.send("basic.ack", delivery_tag=1)
    client.send("tx.commit")
    batch = linked.take()
    assert batch is not None
    assert [row[4] for row in batch.messages] == [b"new", b"new"]
    assert len(batch.settled) == 1


def test_commit_that_is_not_written_leaves_no_part_of_it(linked: Linked, client: LinkedClient) -> None:
    for queue in ("q", "r"):
        client.publish("", queue, b"x", PERSISTENT)
    client.send("tx.commit")
    linked.crash()
    restarted = Linked(linked.store).client(channels=2)
    assert (count(restarted, "q"), count(restarted, "r")) == (0, 0)


def test_rollback_forgets_publishes_and_settlements(client: LinkedClient) -> None:
    client.publish("", "q", b"kept", on=2)
    client.send("basic.get", queue="q")
    client.expect("basic.get-ok")
    client.publish("", "q", b"forgotten")
    client.send("basic.ack", delivery_tag=1)
    client.call("tx.rollback")
    client.call("tx.commit")
    assert count(client) == 0
    client.send("basic.reject", delivery_tag=1, requeue=True)
    client.call("tx.commit")
    assert count(client) == 1


def test_closed_channel_forgets_its_transaction(client: LinkedClient) -> None:
    client.publish("", "q", b"kept", on=2)
    client.send("basic.get", queue="q")
    client.expect("basic.get-ok")
    client.publish("", "q", b"forgotten")
    client.send("basic.ack", delivery_tag=1)
    client.call("channel.close")
    client.send("basic.get", on=2, queue="q", no_ack=True)
    kept = client.expect("basic.get-ok")
    assert (kept.body, kept.values["redelivered"], kept.values["message_count"]) == (b"kept", True, 0)


def test_commit_passes_over_a_queue_that_is_gone(client: LinkedClient) -> None:
    client.publish("", "q", b"x")
    client.call("queue.delete", on=2, queue="q")
    client.call("tx.commit")


def test_mandatory_publish_comes_back_at_commit(client: LinkedClient) -> None:
    client.publish("", "nowhere", b"x", mandatory=True)
    assert client.names() == []
    client.send("tx.commit")
    assert client.names() == ["basic.return", "tx.commit-ok"]


def test_confirms_and_transactions_exclude_each_other(client: LinkedClient) -> None:
    client.send("confirm.select")
    assert client.expect("channel.close").values["reply_code"] == 406
    client.call("confirm.select", on=2)
    client.send("tx.select", on=2)
    assert client.expect("channel.close").values["reply_code"] == 406


def test_commit_ok_is_not_said_before_the_disk_to_a_client_that_closes(linked: Linked, client: LinkedClient) -> None:
    client.publish("", "q", b"x", PERSISTENT)
    client.feed(method("tx.commit") + method("channel.close", reply_code=200, reply_text="", class_id=0, method_id=0))
    assert client.names() == ["channel.close-ok"]
    linked.commit()
    assert count(client) == 1
