"""What an operator sees of waiting messages and does with them, while they go on coming and going."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from amqpd.broker.inquiry import Inquiry
from amqpd.store.memory import MemoryStore
from amqpd_delayed_message import register, search
from amqpd_delayed_message.exchange import KIND, DelayedExchange
from interop.conformance.codec import Typed
from tests.support.linked import START_MS, Linked, LinkedClient

SMALL_WINDOW = 4


class Operator:
    """Runs commands as the server does. ``meanwhile`` is called between reading and answering."""

    def __init__(self, linked: Linked) -> None:
        self.linked = linked
        self.meanwhile: Callable[[], object] = lambda: None

    def __call__(self, name: str, **arguments: Any) -> Any:
        broker = self.linked.broker
        result = broker.registry.commands[f"delayed {name}"].run(broker, arguments)
        while isinstance(result, Inquiry):
            result = self._answered(result)
        self.linked.turn()
        self.linked.commit()
        return result

    def _answered(self, inquiry: Inquiry) -> object:
        try:
            inquiry.read(self.linked.reader)
            self.meanwhile()
            return inquiry.answer()
        finally:
            inquiry.end()

    def bodies(self, **arguments: Any) -> list[str]:
        """The message-ids of all pages."""
        found: list[str] = []
        page = None
        while True:
            answer = self("list", **arguments, page=page)
            found += [row["message_id"] for row in answer["messages"]]
            page = answer["next"]
            if page is None:
                return found

    def identity(self, name: str) -> int:
        (row,) = self("list", message_id=name)["messages"]
        assert isinstance(row["id"], int)
        return row["id"]


@pytest.fixture(params=[True, False], ids=["durable", "transient"])
def durable(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def linked() -> Linked:
    return Linked(MemoryStore(), plugins=[register])


@pytest.fixture
def client(linked: Linked) -> LinkedClient:
    return linked.client()


@pytest.fixture
def operator(linked: Linked) -> Operator:
    return Operator(linked)


def declare(client: LinkedClient, name: str = "x", durable: bool = True, window: int | None = None) -> None:
    client.call("exchange.declare", exchange=name, type=KIND, durable=durable, arguments={"x-delayed-type": "fanout"})
    client.call("queue.declare", queue="q", durable=True)
    client.call("queue.bind", queue="q", exchange=name)
    if window is not None:
        exchange(client.linked, name).schedule.window_messages_max = window


def exchange(linked: Linked, name: str = "x") -> DelayedExchange:
    found = linked.broker.vhosts["/"].exchanges[name]
    assert isinstance(found, DelayedExchange)
    return found


def publish(client: LinkedClient, name: str, delay: int, to: str = "x", key: str = "k", **headers: Any) -> None:
    properties = {"message_id": name, "delivery_mode": 2, "headers": {"x-delay": Typed("l", delay)} | headers}
    client.publish(to, key, name.encode(), properties)


def publish_many(client: LinkedClient, count: int, to: str = "x") -> list[str]:
    """Out of order; returns the names in order of due time."""
    for number in range(count):
        publish(
            client, f"m{number * 7 % count:02}", 1000 + 10 * (number * 7 % count), to, odd=str(number * 7 % count % 2)
        )
    client.linked.settle()
    return [f"m{number:02}" for number in range(count)]


def came(client: LinkedClient) -> list[str]:
    client.linked.settle()
    found = []
    while (message := get(client)) is not None:
        found.append(message)
    return found


def get(client: LinkedClient) -> str | None:
    client.send("basic.get", queue="q", no_ack=True)
    answer = client.inbox.popleft()
    return answer.body.decode() if answer.name == "basic.get-ok" else None


# List


@pytest.mark.parametrize("window", [None, SMALL_WINDOW], ids=["in memory", "on disk"])
@pytest.mark.parametrize("limit", [1, 3, 100])
def test_pages_hold_everything_once_in_order(
    client: LinkedClient, operator: Operator, durable: bool, window: int | None, limit: int
) -> None:
    declare(client, durable=durable, window=window)
    names = publish_many(client, 30)
    assert operator.bodies(limit=limit) == names
    assert operator.bodies(limit=limit, headers={"odd": "1"}) == names[1::2]
    assert operator.bodies(limit=limit, after=START_MS + 1100, before=START_MS + 1200) == names[10:20]


def test_pages_go_over_all_exchanges_in_the_order_of_time(client: LinkedClient, operator: Operator) -> None:
    declare(client, "x", window=SMALL_WINDOW)
    declare(client, "y")
    for number in range(20):
        publish(client, f"m{number:02}", 1000 + number, "xy"[number % 2])
    client.linked.settle()
    assert operator.bodies(limit=3) == [f"m{number:02}" for number in range(20)]
    assert operator.bodies(limit=3, exchange="y") == [f"m{number:02}" for number in range(1, 20, 2)]
    assert operator.bodies(limit=3, vhost="/") == operator.bodies()


def test_scan_that_finds_little_goes_on_with_the_next_page(
    client: LinkedClient, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "SCAN_MESSAGES_MAX", 5)
    monkeypatch.setattr(search, "READ_MESSAGES", 2)
    declare(client, window=SMALL_WINDOW)
    publish_many(client, 30)
    publish(client, "rare", 1155, rare="yes")
    client.linked.settle()
    first = operator("list", headers={"rare": "yes"})
    assert first["messages"] == []
    assert first["next"] is not None
    assert operator.bodies(headers={"rare": "yes"}) == ["rare"]


def test_uncommitted_message_is_listed(client: LinkedClient, operator: Operator) -> None:
    declare(client, window=SMALL_WINDOW)
    names = publish_many(client, 10)
    publish(client, "fresh", 5000)
    assert operator.bodies() == [*names, "fresh"]


def test_row_says_what_waits(client: LinkedClient, operator: Operator) -> None:
    declare(client)
    publish(client, "one", 1000, key="a.b", text="t", n=5, flag=True, list=[1, "a"], far=Typed("d", float("inf")))
    (row,) = operator("list")["messages"]
    identity = row.pop("id")
    assert isinstance(identity, int)
    assert row == {
        "due": START_MS + 1000,
        "due_at": "1970-01-01T00:16:41.000Z",
        "vhost": "/",
        "exchange": "x",
        "routing_key": "a.b",
        "message_id": "one",
        "bytes": 3,
        "recurs": "",
        "fired": 0,
        "headers": {"x-delay": 1000, "text": "t", "n": 5, "flag": True, "list": [1, "a"], "far": "inf"},
    }


def test_filters_hold_together(client: LinkedClient, operator: Operator) -> None:
    declare(client)
    for name, key, headers in (
        ("a", "k", {"h": "1"}),
        ("b", "k", {"h": 1}),
        ("c", "l", {"h": "1", "g": True}),
        ("d", "k", {}),
    ):
        publish(client, name, 1000, key=key, **headers)
    assert operator.bodies(headers={"h": "1"}) == ["a", "b", "c"]
    assert operator.bodies(headers={"h": "1"}, routing_key="k") == ["a", "b"]
    assert operator.bodies(headers={"h": "1", "g": "true"}) == ["c"]
    assert operator.bodies(message_id="d") == ["d"]
    assert operator.bodies(message_id="d", routing_key="l") == []
    assert operator.bodies(ids=[operator.identity("a"), operator.identity("c"), 1 << 50]) == ["a", "c"]


def test_what_the_broker_remembers_of_the_publisher_is_not_shown(client: LinkedClient, operator: Operator) -> None:
    declare(client)
    properties = {"headers": {"x-delay": 1000}, "message_id": "m"}
    client.publish("x", "", b"", properties, mandatory=True)
    (row,) = operator("list")["messages"]
    assert row["headers"] == {"x-delay": 1000}
    assert operator("show", message_id="m")["headers"] == {"x-delay": 1000}


def test_request_to_cancel_is_not_listed(client: LinkedClient, operator: Operator) -> None:
    declare(client)
    publish(client, "m", 1000)
    operator.meanwhile = lambda: client.publish("x", "", b"", {"headers": {"x-delay-cancel": "other"}})
    assert operator.bodies() == ["m"]


@pytest.mark.parametrize("window", [None, SMALL_WINDOW], ids=["in memory", "on disk"])
def test_what_happened_since_the_read_is_seen(
    client: LinkedClient, operator: Operator, durable: bool, window: int | None
) -> None:
    declare(client, durable=durable, window=window)
    names = publish_many(client, 12)
    gone, moved = operator.identity("m05"), operator.identity("m07")

    def happens() -> None:
        operator.meanwhile = lambda: None
        operator("cancel", ids=[gone])
        operator("reschedule", ids=[moved], at=START_MS + 9000)
        publish(client, "new", 500)
        client.linked.advance(1015)

    operator.meanwhile = happens
    found = operator("list")
    assert [row["message_id"] for row in found["messages"]] == [
        name for name in names if name not in ("m00", "m01", "m05", "m07")
    ] + ["m07"]


def test_purge_since_the_read_leaves_nothing(client: LinkedClient, operator: Operator) -> None:
    declare(client, window=SMALL_WINDOW)
    publish_many(client, 12)

    def happens() -> None:
        operator.meanwhile = lambda: None
        assert operator("cancel", all=True)["count"] == 12

    operator.meanwhile = happens
    assert operator("list") == {"messages": [], "next": None}


def test_deleted_exchange_since_the_read_leaves_nothing(client: LinkedClient, operator: Operator) -> None:
    declare(client, window=SMALL_WINDOW)
    publish_many(client, 12)
    operator.meanwhile = lambda: client.call("exchange.delete", exchange="x")
    assert operator("list") == {"messages": [], "next": None}


# Show


def test_show_gives_properties_and_body(client: LinkedClient, operator: Operator) -> None:
    declare(client)
    properties = {
        "content_type": "text/plain",
        "content_encoding": "utf-8",
        "delivery_mode": 2,
        "priority": 3,
        "correlation_id": "c",
        "reply_to": "r",
        "expiration": "60000",
        "message_id": "m",
        "timestamp": 1_800_000_000,
        "type": "t",
        "user_id": "guest",
        "app_id": "a",
    }
    client.publish("x", "k", b"caf\xc3\xa9", properties | {"headers": {"x-delay": 5}})
    shown = operator("show", message_id="m")
    assert (shown["body"], shown["cut"], shown["headers"]) == ("café", False, {"x-delay": 5})
    assert shown["properties"] == properties
    assert operator("show", ids=[shown["id"]]) == shown


def test_show_gives_octets_that_are_no_text_in_base64_and_cuts_long_ones(
    client: LinkedClient, operator: Operator
) -> None:
    declare(client)
    client.publish("x", "k", b"\xff\xfe", {"headers": {"x-delay": 5}, "message_id": "m"})
    client.publish("x", "k", b"a" * 70_000, {"headers": {"x-delay": 5}, "message_id": "n"})
    assert operator("show", message_id="m")["body_base64"] == "//4="
    long = operator("show", message_id="n")
    assert (len(long["body"]), long["cut"]) == (65_536, True)


def test_show_of_what_is_not_there_is_refused(client: LinkedClient, operator: Operator) -> None:
    declare(client)
    with pytest.raises(ValueError, match="no such message waits"):
        operator("show", ids=[77])
    with pytest.raises(ValueError, match="say which message"):
        operator("show")


# Change


@pytest.mark.parametrize("window", [None, SMALL_WINDOW], ids=["in memory", "on disk"])
def test_cancelled_message_never_comes(
    client: LinkedClient, operator: Operator, durable: bool, window: int | None
) -> None:
    declare(client, durable=durable, window=window)
    names = publish_many(client, 12)
    assert operator("cancel", ids=[operator.identity("m03"), operator.identity("m11"), 1 << 50])["count"] == 2
    assert operator("cancel", headers={"odd": "1"}, before=START_MS + 1060)["count"] == 2
    client.linked.advance(5000)
    assert came(client) == [name for name in names if name not in ("m01", "m03", "m05", "m11")]


def test_cancelling_all_drops_all(client: LinkedClient, operator: Operator, durable: bool) -> None:
    declare(client, durable=durable, window=SMALL_WINDOW)
    publish_many(client, 12)
    assert operator("cancel", all=True, exchange="x") == {"count": 12, "next": None}
    assert operator("stats")[0]["cancelled"] == 12
    client.linked.advance(5000)
    assert came(client) == []


def test_change_of_many_goes_in_steps(
    client: LinkedClient, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amqpd_delayed_message.commands.CHANGE_LIMIT", 5)
    declare(client, window=SMALL_WINDOW)
    publish_many(client, 12)
    counts, page = [], None
    for _ in range(4):
        answer = operator("reschedule", all=True, at=START_MS + 1050, page=page)
        counts.append(answer["count"])
        page = answer["next"]
        if page is None:
            break
    assert sum(counts) == 11  # one was due then already
    assert max(counts) <= 5
    client.linked.advance(1050)
    assert len(came(client)) == 12


@pytest.mark.parametrize("window", [None, SMALL_WINDOW], ids=["in memory", "on disk"])
def test_rescheduled_message_comes_at_its_new_time(
    client: LinkedClient, operator: Operator, durable: bool, window: int | None
) -> None:
    declare(client, durable=durable, window=window)
    names = publish_many(client, 12)
    sooner, later = operator.identity("m09"), operator.identity("m01")
    assert operator("reschedule", ids=[sooner], at=START_MS + 100)["count"] == 1
    assert operator("reschedule", ids=[later], **{"in": 9000}) == {"count": 1, "at": START_MS + 9000, "next": None}
    client.linked.advance(100)
    assert came(client) == ["m09"]
    client.linked.advance(5000)
    assert came(client) == [name for name in names if name not in ("m01", "m09")]
    client.linked.advance(4000)
    assert came(client) == ["m01"]


def test_rescheduled_message_keeps_its_new_time_over_a_crash(client: LinkedClient, operator: Operator) -> None:
    declare(client)
    publish(client, "m", 1000)
    client.linked.settle()
    operator("reschedule", message_id="m", at=START_MS + 5000)
    linked = client.linked
    assert isinstance(linked.store, MemoryStore)
    linked.crash()
    again = Linked(MemoryStore(linked.store.disk), plugins=[register])
    again.settle()
    client = again.client()
    again.advance(4999)
    assert came(client) == []
    again.advance(1)
    assert came(client) == ["m"]


@pytest.mark.parametrize("window", [None, SMALL_WINDOW], ids=["in memory", "on disk"])
def test_fired_message_comes_now(client: LinkedClient, operator: Operator, durable: bool, window: int | None) -> None:
    declare(client, durable=durable, window=window)
    names = publish_many(client, 12)
    assert operator("fire", ids=[operator.identity("m10")])["count"] == 1
    assert came(client) == ["m10"]
    assert operator("fire", all=True)["count"] == 11
    assert sorted(came(client)) == [name for name in names if name != "m10"]
    client.linked.advance(5000)
    assert came(client) == []


def test_fired_message_that_recurs_comes_again(client: LinkedClient, operator: Operator) -> None:
    declare(client)
    properties = {"headers": {"x-period": 1000, "x-repeat": 2}, "message_id": "m"}
    client.publish("x", "", b"m", properties)
    client.linked.advance(300)
    operator("fire", message_id="m")
    assert came(client) == ["m"]
    (row,) = operator("list")["messages"]
    assert (row["due"], row["recurs"], row["fired"]) == (START_MS + 1300, "every 1000 ms, 2 times", 1)
    client.linked.advance(1000)
    assert came(client) == ["m"]
    assert operator.bodies() == []


def test_change_without_saying_which_is_refused(client: LinkedClient, operator: Operator) -> None:
    declare(client)
    for name, more in (("cancel", {}), ("fire", {}), ("reschedule", {"in": 5})):
        with pytest.raises(ValueError, match="say which messages"):
            operator(name, exchange="x", **more)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"exchange": "z"}, "no delayed exchange 'z'"),
        ({"exchange": "amq.direct", "vhost": "/"}, "no delayed exchange 'amq.direct' in vhost '/'"),
        ({"vhost": "z"}, "no vhost 'z'"),
        ({"ids": "5"}, "'ids' must be a list"),
        ({"ids": [True, "x"]}, "'ids' must be a list"),
        ({"headers": {"a": 5}}, "'headers' must be an object"),
        ({"message_id": 5}, "'message_id' must be a text"),
        ({"limit": 0}, "'limit' must be a number from 1 to 1000"),
        ({"limit": 1001}, "'limit' must be a number"),
        ({"after": -1}, "'after' must be a number"),
        ({"before": True}, "'before' must be a number"),
        ({"page": [1]}, "'page' must be what an answer gave"),
        ({"page": "1:2"}, "'page' must be what an answer gave"),
    ],
)
def test_wrong_arguments_are_refused(
    client: LinkedClient, operator: Operator, arguments: dict[str, Any], text: str
) -> None:
    declare(client)
    with pytest.raises(ValueError, match=text):
        operator("list", **arguments)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "say when"),
        ({"at": 1, "in": 1}, "say when"),
        ({"at": START_MS + 315_360_000_001}, "'at' must be a number"),
        ({"in": -5}, "'in' must be a number"),
    ],
)
def test_wrong_time_is_refused(client: LinkedClient, operator: Operator, arguments: dict[str, Any], text: str) -> None:
    declare(client)
    with pytest.raises(ValueError, match=text):
        operator("reschedule", all=True, **arguments)


# Stats


def test_stats_count_what_waits_and_what_came(client: LinkedClient, operator: Operator) -> None:
    declare(client, window=SMALL_WINDOW)
    publish_many(client, 12)
    linked = client.linked
    linked.advance(1030)
    linked.settle()
    (row,) = operator("stats", exchange="x")
    assert {key: row[key] for key in ("vhost", "exchange", "type", "durable", "max_pending", "waiting", "bytes")} == {
        "vhost": "/",
        "exchange": "x",
        "type": "fanout",
        "durable": True,
        "max_pending": -1,
        "waiting": 8,
        "bytes": 24,
    }
    assert (row["published"], row["unroutable"], row["next_due"]) == (4, 0, START_MS + 1040)
    assert row["next_due_at"] == "1970-01-01T00:16:41.040Z"
    assert (row["late_p50"], row["late_p99"], row["late_max"]) == (0, 0, 0)


def test_lateness_is_told_by_classes(client: LinkedClient, operator: Operator) -> None:
    declare(client)
    for _ in range(9):
        publish(client, "on time", 1000)
    publish(client, "late", 2000)
    client.linked.advance(1000)
    client.linked.broker.now += 1100  # nobody looked at the clock for a while
    client.linked.broker.tick(client.linked.broker.now)
    client.linked.turn()
    (row,) = operator("stats")
    assert (row["late_p50"], row["late_p99"], row["late_max"]) == (0, 127, 127)


def test_stats_without_any_exchange_are_empty(operator: Operator) -> None:
    assert operator("stats") == []
    assert operator("list") == {"messages": [], "next": None}
