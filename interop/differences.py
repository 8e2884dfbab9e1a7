"""Where the facts of ``interop/facts.py`` show when amqpd is compared with a RabbitMQ.

``INTENDED`` has places in the transcripts of programs, ``FRAMES`` those in recorded frames. What is not listed must be
equal; a place where the brokers answer alike again is to go from the list. Rows of the conformance set that mean to
differ say so themselves, by ``differs(fact)``.
"""

from dataclasses import dataclass

from interop import facts
from interop.facts import Fact
from interop.transcript import MISSING, Difference, Json


def _cannot_delete_if(what: str) -> Json:
    queue = "queue 'interop.quorum_bad' in vhost '/'"
    text = f"cannot delete {queue}. queue.delete operations with if-{what} flag set are not supported by quorum queues"
    return ["connection", 540, f"NOT_IMPLEMENTED - {text}"]


def _cannot_give_back() -> Json:
    where = "queue 'interop.stream' in vhost '/'"
    text = f"basic.nack and basic.reject not supported by stream queues {where}"
    return ["connection", 540, f"NOT_IMPLEMENTED - {text}"]


_FILTERS = ("apple", "apple and plum", "apple and none")


INTENDED: dict[str, list[Difference]] = {
    "handshake": [
        Difference(
            "announced/version",
            ("3.10.8",),
            facts.VERSION,
        ),
        Difference(
            "announced/capabilities/accept_consumer_cancel_ok",
            (MISSING,),
            facts.CANCEL_OK_ANNOUNCED,
        ),
    ],
    "headers_exchange": [
        Difference(
            "1.0 matches",
            (["1", "1.0"],),
            facts.HEADER_NUMBERS,
        ),
    ],
    "direct_reply_to": [
        Difference(
            "calls/mandatory answer came back",
            (["NO_ROUTE"],),
            facts.REPLY_RETURNED,
        ),
    ],
    "channel_flow": [
        Difference(
            "flow(false)",
            (["connection", 540, "NOT_IMPLEMENTED - active=false"],),
            facts.FLOW,
        ),
        *(
            Difference(path, (MISSING,), facts.FLOW)
            for path in ("while paused", "get is not paused", "flow(true) again", "afterwards")
        ),
    ],
    "exact_expiry": [
        Difference("in the middle/ready", (8,), facts.EXACT_EXPIRY),
        Difference("in the middle/dead", ([],), facts.EXACT_EXPIRY),
        Difference("behind a higher priority/ready", (3,), facts.EXACT_EXPIRY),
        Difference("behind a higher priority/dead", ([],), facts.EXACT_EXPIRY),
    ],
    "dead_letter_headers": [
        Difference("types/headers/CC", (MISSING,), facts.CC_KEPT),
        *(
            Difference(f"{place}/x-last-death-{what}", (MISSING,), facts.LAST_DEATH)
            for place in ("types/headers", "expiration/last", "first and last/last")
            for what in ("queue", "reason", "exchange")
        ),
    ],
    "dead_letter_routing": [
        Difference("keys/new with CC/2/CC", (MISSING,), facts.CC_KEPT),
        Difference(
            "keys/nobody else/2",
            (["x"],),
            facts.BCC_ONCE,
        ),
    ],
    "dead_letter_republish": [
        Difference(
            "with a death that never was",
            ([],),
            facts.NO_CIRCLE,
        ),
    ],
    "single_active_consumer": [
        Difference(
            "cancel_with_more_to_come/1",
            ([],),
            facts.SINGLE_GOES_ON,
        ),
    ],
    "delay_by_ttl": [
        Difference(f"one queue/{place}", (body,), facts.EXACT_EXPIRY)
        for place, body in enumerate(("third of all", "first of all", "second of all"))
    ],
    "retry_backoff": [
        Difference(f"failed/{place}", (f"interop.backoff_wait_{delay} expired 1",), facts.DEATHS_ORDER)
        for place, delay in ((4, 50), (5, 100))
    ],
    "quorum_queue": [
        *(Difference(f"push/acquired/{place}", (None,), facts.ACQUIRED) for place in (1, 2, 3)),
        *(
            Difference(
                f"rules/delete if {what}",
                (_cannot_delete_if(what),),
                facts.QUORUM_DELETE,
            )
            for what in ("unused", "empty")
        ),
        Difference(
            "rules/global qos",
            (["connection", 540, "NOT_IMPLEMENTED - queue 'interop.quorum' in vhost '/' does not support global qos"],),
            facts.QUORUM_QOS,
        ),
    ],
    "streams_pika": [
        Difference("beginnings/reads/two back", (["0", "1", "2", "3", "4", "5"],), facts.STREAM_BACK),
        Difference("given back/0", (_cannot_give_back(),), facts.STREAM_GIVE_BACK),
        Difference("given back/1", ([],), facts.STREAM_GIVE_BACK),
        *(Difference(f"filtered/{name}", (["1", "2", "3", "4", "5"],), facts.STREAM_FILTER) for name in _FILTERS),
        Difference("filtered/from an offset", (["2", "3", "4", "5"],), facts.STREAM_FILTER),
    ],
    "streams_retention": [Difference("by age/quiet", ([*range(30)],), facts.STREAM_AGE)],
}


@dataclass(frozen=True)
class Shown:
    """A fact that shows in frames of rows which pass on both brokers.

    ``places`` are patterns of places, as ``interop/side_by_side/comparing.py`` names them:
    ``connection.start/server_properties/version/1``, ``frame/basic.get-ok/basic.get-empty``. ``scenarios`` are patterns
    of rows; in at least one of these it must show, at one of the places. Patterns are those of ``fnmatch``, but that
    ``[`` is meant literally.
    """

    fact: Fact
    places: tuple[str, ...]
    scenarios: tuple[str, ...] = ("*",)


_EVENTS = ("basic.deliver/routing_key", "header/*", "frame/nothing/basic.deliver")
_FOUND = (
    "queue.declare-ok/message_count",
    "queue.purge-ok/message_count",
    "basic.get-ok/*",
    "header/*",
    "body/*",
    "frame/basic.get-*",
)
_HASHED = (
    "a_header_of_any_type_is_hashed",
    "a_header_or_property_is_hashed",
    "a_key_has_one_queue",
    "a_queue_bound_twice_counts_twice",
    "a_queue_that_comes_takes_its_share_and_no_other_key_moves",
    "a_second_binding_of_a_queue_is_ignored",
    "an_exchange_takes_its_share_like_a_queue",
    "cc_adds_no_destination",
    "cc_belongs_to_what_the_modulus_is_taken_of",
    "cc_does_not_change_where_a_key_belongs",
    "each_message_has_one_destination",
    "messages_without_what_is_hashed_go_to_one_queue",
    "weights_are_the_shares",
)

FRAMES = (
    Shown(facts.VERSION, ("connection.start/server_properties/version/1",)),
    Shown(facts.CANCEL_OK_ANNOUNCED, ("connection.start/server_properties/capabilities/1/accept_consumer_cancel_ok",)),
    Shown(facts.LAST_DEATH, ("header/properties/headers/*x-last-death-*",)),
    Shown(facts.ACQUIRED, ("header/properties/headers/x-acquired-count",)),
    Shown(facts.CC_KEPT, ("header/properties/headers/CC",), ("test_dead_letters.test_octets_of_the_first_death",)),
    Shown(
        facts.FIRST_DEATH_AGAIN,
        ("header/properties/headers/x-first-death-*",),
        ("test_dead_letters.test_x_death_that_is_no_array_is_replaced[*",),
    ),
    Shown(facts.TRACE_ROUTED, ("header/properties/headers/routed_queues/1",), ("test_firehose.test_cc_and_bcc",)),
    Shown(
        facts.EVENT_UNBOUND,
        ("header/properties/headers/user_who_performed_action/1",),
        ("test_events.test_a_queue_takes_its_bindings_along",),
    ),
    Shown(
        facts.EVENT_OWN_WORKS,
        _EVENTS,
        ("test_events.test_a_vhost", "test_events.test_an_exchange", "test_events.test_bindings"),
    ),
    Shown(facts.EVENT_CLEARED, _EVENTS, ("test_events.test_a_global_parameter",)),
    Shown(facts.HASH_PLACES, _FOUND, tuple(f"test_hash_exchanges.test_{name}*" for name in _HASHED)),
    Shown(facts.HISTORY_ORDER, _FOUND, ("test_recent_history.test_a_bound_exchange_routes_the_history",)),
)
