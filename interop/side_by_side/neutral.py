"""What two brokers may do differently without behaving differently is taken out of recordings here.

A recording is what ``interop/conformance/recording.py`` wrote of one scenario. These become equal:

1. Names that the test or the broker made up, ports, process ids, nodes, and the time of day.
2. What the broker says of itself in connection.start, but for its product, version and capabilities.
3. Questions that a test repeats: of those that only look the last one counts; of equal ones with equal answers one.
4. What may come in either order: see ``_in_order``.
5. Confirms: one ack for many messages, or one for each.
6. Events: what happens elsewhere on the broker is left out, and the order of the rest does not count.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

Item = dict[str, Any]
Connections = list[list[Item]]

EVENTS = "amq.rabbitmq.event"
ABOUT_ITSELF = ("cluster_name", "copyright", "information", "platform")
ADMINISTRATORS = ("rmq-cli", "guest")  # amqpd is set up through its command line, RabbitMQ through its HTTP API
DAY = 86_400
REPEATED_ITEMS = 6  # the longest question with its answer: a publish of three frames, and a return of three
SETTLEMENTS = ("basic.ack", "basic.nack")
TAGGED = ("basic.deliver", "basic.consume-ok", "basic.cancel-ok", "basic.cancel")


def neutral(connections: Connections, mark: str, now: float | None = None) -> Connections:
    """The recordings of a scenario's connections, so that brokers which behave alike give equal ones.

    ``mark`` is what all names of the scenario have, as ``recording.mark_of`` has it, ``now`` the time of the run.
    """
    own = [_with_own_events(items, mark) for items in connections]
    clean = _Values(mark, time.time() if now is None else now)
    return [_in_order(_unfolded(_asked_once([clean.item(item) for item in items]))) for items in own]


# ---- values


class _Values:
    """Takes the chance out of values; what was made up gets numbers in the order of appearance."""

    def __init__(self, mark: str, now: float) -> None:
        self._now = now
        self._numbers: dict[str, str] = {}
        token = mark.split("-")[0]
        self._rules: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
            (re.compile(f"-{mark}(?=-)"), ""),
            (re.compile(f"-{token}"), ""),
            (re.compile(r"(amq\.(?:gen|ctag)-)[\w-]{22}"), self._numbered),
            (re.compile(r"(amq\.rabbitmq\.reply-to\.)[\w+/=.-]{10,}"), self._numbered),
            (re.compile(r"<[\w@.-]+\.\d+\.\d+\.\d+>"), "<pid>"),
            (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:port"),
            # RabbitMQ says either, by which of its processes is first.
            (re.compile(r"(vhost '[^']*' is )down"), r"\1deleted"),
        ]

    def _numbered(self, match: re.Match[str]) -> str:
        number = self._numbers.setdefault(match[0], str(len(self._numbers) + 1))
        return match[1] + number

    def item(self, item: Item) -> Item:
        changed: Item = {key: self._value(value, key) for key, value in item.items()}
        if "text" in changed:
            del changed["digest"]  # of a text with names in it
        if changed.get("method") == "connection.start":
            for key in ABOUT_ITSELF:
                changed["arguments"]["server_properties"].pop(key, None)
            # A set: two nodes of one RabbitMQ may name them in either order.
            changed["arguments"]["mechanisms"] = " ".join(sorted(changed["arguments"]["mechanisms"].split()))
        return changed

    def _value(self, value: Any, key: str = "") -> Any:
        if isinstance(value, list) and key == "user_who_performed_action" and value[1] in ADMINISTRATORS:
            return ["S", "administrator"]
        if isinstance(value, list) and key == "node":
            return ["S", "node"]
        if isinstance(value, str):
            for pattern, replacement in self._rules:
                value = pattern.sub(replacement, value)
            return value
        if isinstance(value, dict):
            return {str(self._value(name)): self._value(inner, name) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._value(inner, key) for inner in value]
        if isinstance(value, int) and not isinstance(value, bool):
            return self._number(value, key)
        return value

    def _number(self, value: int, key: str) -> int | str:
        if abs(value - self._now) < DAY or abs(value / 1000 - self._now) < DAY:
            return "now"
        if key in ("port", "peer_port"):
            return "port"
        return value


# ---- events


def _with_own_events(items: list[Item], mark: str) -> list[Item]:
    """Events about something else are dropped, the others sorted and put where the first one stood."""
    kept: list[Item] = []
    events: list[list[Item]] = []
    place = None
    at = 0
    while at < len(items):
        item = items[at]
        if item.get("method") == "basic.deliver" and item["arguments"]["exchange"] == EVENTS:
            place = len(kept) if place is None else place
            event = items[at : at + 2]  # the body is empty and has no frame
            if mark in json.dumps(event[1:]):
                event[0] = {**item, "arguments": {**item["arguments"], "delivery_tag": 0}}
                events.append(event)
            at += 2
            continue
        kept.append(item)
        at += 1
    if place is not None:
        events.sort(key=_text)
        kept[place:place] = [item for event in events for item in event]
    return kept


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


# ---- questions that were asked again


def _asked_once(items: list[Item]) -> list[Item]:
    """Leave out what was asked and answered again and again.

    Of equal questions with equal answers one is left; of questions that only look (a passive declaration; a get that
    finds nothing), the last one.
    """
    kept: list[Item] = []
    for item in items:
        kept.append(item)
        for size in range(1, REPEATED_ITEMS + 1):
            block = kept[-size:]
            if kept[-2 * size : -size] == block and _is_whole(block):
                del kept[-size:]
                break
        if len(kept) >= 4 and _looked_again(*kept[-4:]):
            del kept[-4:-2]
    return kept


def _is_whole(block: list[Item]) -> bool:
    """A question with its answer, or a publish, which has none."""
    if block[0]["from"] == "server":
        return False
    return block[-1]["from"] == "server" or block[0].get("method") == "basic.publish"


def _looked_again(first: Item, answer: Item, second: Item, new_answer: Item) -> bool:
    return first == second and new_answer["from"] == "server" and _only_looked(first, answer)


def _only_looked(question: Item, answer: Item) -> bool:
    if question.get("method") == "queue.declare":
        return bool(question["arguments"]["passive"]) and answer.get("method") == "queue.declare-ok"
    return question.get("method") == "basic.get" and answer.get("method") == "basic.get-empty"


# ---- orders


def _in_order(items: list[Item]) -> list[Item]:
    """Sort what came from the server between two frames of the client by what must keep its order.

    On one channel these are independent of each other: the deliveries to each consumer with what begins and ends it;
    confirms with the returns before them; all else. Channels are independent of each other.
    """
    kept: list[Item] = []
    burst: list[Item] = []
    for item in [*items, None]:
        if item is not None and item["from"] == "server" and "channel" in item:
            burst.append(item)
            continue
        kept += _burst_in_order(burst)
        burst = []
        if item is not None:
            kept.append(item)
    return kept


def _burst_in_order(burst: list[Item]) -> list[Item]:
    streams: dict[tuple[int, str], list[Item]] = {}
    open_content: dict[int, tuple[int, str]] = {}
    for item in burst:
        channel = item["channel"]
        if "method" in item:
            open_content[channel] = (channel, _stream(item))
        streams.setdefault(open_content.get(channel, (channel, "")), []).append(item)
    return [item for key in sorted(streams) for item in _confirms_one_by_one(streams[key])]


def _stream(item: Item) -> str:
    method, arguments = item["method"], item["arguments"]
    if method in TAGGED:
        return f"consumer {arguments['consumer_tag']}"
    if method in (*SETTLEMENTS, "basic.return"):
        return "confirms"
    return ""


def _confirms_one_by_one(stream: list[Item]) -> Iterator[Item]:
    """Confirms that follow each other in the order of their tags."""
    settled: list[Item] = []
    for item in [*stream, {}]:
        if item.get("method") in SETTLEMENTS:
            settled.append(item)
            continue
        yield from sorted(settled, key=lambda one: int(one["arguments"]["delivery_tag"]))
        settled = []
        if item:
            yield item


# ---- confirms


def _unfolded(items: list[Item]) -> list[Item]:
    """Confirms of many messages as confirms of one each."""
    kept: list[Item] = []
    done: dict[int, set[int]] = {}
    for item in items:
        if item["from"] == "client" or item.get("method") not in SETTLEMENTS:
            if item.get("method") == "channel.open-ok":
                done.pop(item["channel"], None)
            kept.append(item)
            continue
        last = item["arguments"]["delivery_tag"]
        settled = done.setdefault(item["channel"], set())
        tags = [tag for tag in range(1, last) if tag not in settled] if item["arguments"]["multiple"] else []
        for tag in [*tags, last]:
            arguments = {**item["arguments"], "delivery_tag": tag, "multiple": False}
            kept.append({**item, "arguments": arguments})
            settled.add(tag)
    return kept
