"""What a dead letter's headers say of its deaths: x-death, x-first-death-* and x-last-death-*. Works on encoded tables.

1. ``x-death`` is an array of tables, the latest death first, one for each pair of queue and reason. The next death of
   the same pair adds 1 to its ``count`` and brings it to the front; the rest tells of the first death of the pair.
2. ``x-first-death-*`` are set where there is no x-death yet, ``x-last-death-*`` each time (RabbitMQ since 3.13).
3. Deaths that a client sent: RabbitMQ up to 3.13 takes them for its own, so that retries that publish a message again
   with its headers are counted; 4.0 counts only deaths since the message was published. Clients depend on the count,
   so it goes on from what a client sent. Nobody depends on the other use of it: that a message somebody published
   is dropped because its headers look as if it had come in a circle. So the cycle rule knows our own deaths only.
4. What tells them apart must outlast a restart and be no header that clients see. It is the order of fields, which no
   table shows: a death of our own begins with ``count``, then ``reason`` and ``queue``. Where a client sends one like
   that, its ``count`` is put last when the message comes in. Our own deaths lie in front of all others, because the
   latest is always ours.
5. CC stays in the headers after its keys were used (RabbitMQ since 3.13). Once x-dead-letter-routing-key has taken
   their place they must not be used by a later death: such a CC lies behind x-death. In what a client sends, x-death
   is put behind CC.
"""

from __future__ import annotations

import struct
from typing import Final, final

from mypy_extensions import i64

from amqpd.broker.letters import REJECTED
from amqpd.broker.router import RouteExtension
from amqpd.wire.content import ContentHeader, spans, with_encoded_headers, without_expiration
from amqpd.wire.table import Field, Table, decode_table, encode_table

# Octets of all deaths in a header: the oldest go. A header is one frame, and 128 KiB are usual for that.
DEATHS_BYTES_MAX: Final = 64 << 10
# Octets of routing keys in one death: CC may hold any number of keys. The first one always stays.
KEYS_BYTES_MAX: Final = 1 << 10

_COUNT_MAX: Final = (1 << 63) - 1
_LENGTH: Final = struct.Struct(">I")
_LONG: Final = struct.Struct(">q")
_TIME: Final = struct.Struct(">Q")

_NAME: Final = b"x-death"
_LONGSTR: Final = 0x53
_ARRAY: Final = 0x41
_TABLE: Final = 0x46
# Where in an item of the array what lies, when it is ours: F, length, count, its number, reason.
_COUNT: Final = b"\x05countl"
_COUNT_AT: Final = 5
_NUMBER_AT: Final = 12
_REASON: Final = b"\x06reasonS"
_REASON_AT: Final = 20
_QUEUE: Final = b"\x05queueS"
_FIRST_PREFIX: Final = b"x-first-death-"
_LAST_PREFIX: Final = b"x-last-death-"


@final
class Death:
    """``keys``: the routing keys the message had, CC's too. ``seconds``: since 1970."""

    def __init__(self, queue: str, reason: str, exchange: str, keys: list[str], seconds: i64) -> None:
        self.queue: bytes = _octets(queue)
        self.reason: bytes = _octets(reason)
        self.exchange: bytes = _octets(exchange)
        self.keys: list[str] = keys
        self.seconds: i64 = seconds


def with_death(header: ContentHeader, death: Death, rerouted: bool) -> ContentHeader:
    """The header of the dead letter: ``death`` noted, no expiration.

    ``rerouted``: x-dead-letter-routing-key stands for its own keys.
    """
    table = header.headers or b""
    spent = b""
    deaths: list[bytes] | None = None
    first = b""
    if b"-death" in table or (rerouted and b"\x02CC" in table):
        kept: list[bytes] = []
        for span in spans(table, 0, True):
            name = span.name
            octets = table[span.start : span.end]
            if name == _NAME:
                if table[span.value] == _ARRAY:
                    deaths = _items(table[span.value + 5 : span.end])
            elif name.startswith(_FIRST_PREFIX):
                first += octets
            elif name.startswith(_LAST_PREFIX):
                pass
            elif name == b"CC" and (rerouted or deaths is not None):
                spent += octets
            else:
                kept.append(octets)
        table = b"".join(kept)
    if deaths is None:
        deaths = []
        first = _where(_FIRST_PREFIX, death)
    array = b"".join(_bounded([_noted(deaths, death, header.expiration), *deaths]))
    return with_encoded_headers(
        without_expiration(header),
        b"%b\x07x-deathA%b%b%b%b%b"
        % (table, _LENGTH.pack(len(array)), array, first, _where(_LAST_PREFIX, death), spent),
    )


def spends_cc(header: ContentHeader) -> bool:
    """Its CC header was used up by an earlier death (rule 5)."""
    table = header.headers
    if table is None or b"\x02CC" not in table or b"\x07x-death" not in table:
        return False
    dead = False
    for span in spans(table, 0, True):
        if span.name == _NAME:
            dead = True
        elif span.name == b"CC":
            return dead
    return False


def closes_cycle(header: ContentHeader, queue: str) -> bool:
    """Whether a dead letter that enters ``queue`` went in a circle, with no consumer that rejected it on the way.

    ``header`` is the letter's, its latest death noted.
    """
    table = header.headers
    octets = _octets(queue)
    if table is None or _QUEUE + _LENGTH.pack(len(octets)) + octets not in table:
        return False
    rejected = _text(REJECTED.encode())
    wanted = _QUEUE + _text(octets)
    for span in spans(table, 0, True):
        if span.name == _NAME and table[span.value] == _ARRAY:
            for item in _items(table[span.value + 5 : span.end]):
                if not _is_own(item):
                    return False
                at = _REASON_AT + len(_REASON)
                if item.startswith(rejected, at):
                    return False
                if item.startswith(wanted, at + 4 + _LENGTH.unpack_from(item, at)[0]):
                    return True
    return False


class ClientDeaths(RouteExtension):
    """Marks the deaths in what a client publishes as not our own (rules 4 and 5)."""

    def stripped(self, header: ContentHeader) -> ContentHeader:
        table = header.headers
        if table is None or b"\x07x-death" not in table:
            return header
        kept: list[bytes] = []
        deaths = b""
        for span in spans(table, 0, True):
            if span.name == _NAME:
                deaths += _disowned(table[span.start : span.end], span.value - span.start)
            else:
                kept.append(table[span.start : span.end])
        made = b"".join(kept) + deaths
        return header if made == table else with_encoded_headers(header, made)


def _disowned(field: bytes, value: i64) -> bytes:
    if field[value] != _ARRAY:
        return field
    items = [
        item[:_COUNT_AT] + item[_REASON_AT:] + item[_COUNT_AT:_REASON_AT] if _is_own(item) else item
        for item in _items(field[value + 5 :])
    ]
    return field[: value + 5] + b"".join(items)


def _is_own(item: bytes) -> bool:
    return item.startswith(_COUNT, _COUNT_AT) and item.startswith(_REASON, _REASON_AT)


def _items(array: bytes) -> list[bytes]:
    return [array[span.start : span.end] for span in spans(array, 0, False)]


def _noted(deaths: list[bytes], death: Death, expiration: bytes | None) -> bytes:
    """The item for ``death``; one of the same queue and reason is taken out of ``deaths``."""
    pair = b"%b%b%b%b" % (_REASON, _text(death.reason), _QUEUE, _text(death.queue))
    for index, item in enumerate(deaths):
        if _is_own(item):
            if item.startswith(pair, _REASON_AT):
                del deaths[index]
                count = _LONG.unpack_from(item, _NUMBER_AT)[0]
                return item[:_NUMBER_AT] + _LONG.pack(min(count + 1, _COUNT_MAX)) + item[_REASON_AT:]
        elif item[0] == _TABLE and death.queue in item:
            table = decode_table(item[5:])
            if _has(table, "queue", death.queue) and _has(table, "reason", death.reason):
                del deaths[index]
                return _adopted(table, pair)
    return _new(pair, death, expiration)


def _new(pair: bytes, death: Death, expiration: bytes | None) -> bytes:
    keys: list[bytes] = []
    left = KEYS_BYTES_MAX
    for key in death.keys:
        octets = _octets(key)
        left -= len(octets) + 5
        if left < 0 and keys:
            break
        keys.append(b"S" + _text(octets))
    array = b"".join(keys)
    body = b"%b%b%b\x04timeT%b\x08exchangeS%b\x0crouting-keysA%b%b" % (
        _COUNT,
        _LONG.pack(1),
        pair,
        _TIME.pack(int(death.seconds)),
        _text(death.exchange),
        _LENGTH.pack(len(array)),
        array,
    )
    if expiration is not None:
        body += b"\x13original-expirationS" + _text(expiration)
    return b"F" + _LENGTH.pack(len(body)) + body


def _adopted(table: Table, pair: bytes) -> bytes:
    """A client's item, counted on and now our own."""
    count = table.get("count")
    number = count.value if count is not None and count.kind != "t" and isinstance(count.value, int) else 0
    rest = {name: field for name, field in table.items() if name not in ("count", "reason", "queue")}
    body = _COUNT + _LONG.pack(max(1, min(number + 1, _COUNT_MAX))) + pair + encode_table(rest)
    return b"F" + _LENGTH.pack(len(body)) + body


def _has(table: Table, name: str, text: bytes) -> bool:
    return table.get(name) == Field("S", text)


def _bounded(deaths: list[bytes]) -> list[bytes]:
    left = DEATHS_BYTES_MAX
    for index, item in enumerate(deaths):
        left -= len(item)
        if left < 0 and index:
            return deaths[:index]
    return deaths


def _where(prefix: bytes, death: Death) -> bytes:
    """Three headers."""
    size = len(prefix)
    return b"%c%bexchangeS%b%c%bqueueS%b%c%breasonS%b" % (
        size + 8,
        prefix,
        _text(death.exchange),
        size + 5,
        prefix,
        _text(death.queue),
        size + 6,
        prefix,
        _text(death.reason),
    )


def _text(octets: bytes) -> bytes:
    """The value of a longstr."""
    return _LENGTH.pack(len(octets)) + octets


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
