"""The first differing frame is found and told; listed differences pass, and must show."""

from typing import Any

import pytest

from interop import facts
from interop.differences import Shown
from interop.side_by_side.comparing import differences
from interop.side_by_side.recordings import Recording
from interop.side_by_side.side import Comparison, told
from interop.side_by_side.wording import SHOWN, worded

Item = dict[str, Any]

START = Shown(facts.VERSION, ("connection.start/server_properties/version/1",))


def sent(method: str, channel: int = 1, **arguments: Any) -> Item:
    return {"from": "client", "channel": channel, "method": method, "arguments": arguments}


def came(method: str, channel: int = 1, **arguments: Any) -> Item:
    return {**sent(method, channel, **arguments), "from": "server"}


def start(version: str) -> Item:
    return came("connection.start", 0, server_properties={"version": ["S", version]}, mechanisms="PLAIN")


CLOSE = came("channel.close", reply_code=406, reply_text="PRECONDITION_FAILED - x", class_id=50, method_id=10)


def recording(
    *items: Item, name: str = "test_x.test_y[a]", differs: str = "", skipped: str = "", failed: bool = False
) -> Recording:
    return Recording(name, differs, skipped, failed, [list(items)])


def comparison(*shown: Shown) -> Comparison:
    return Comparison("abc123", shown)


# The first difference


def test_a_scenario_that_could_not_be_run_on_one_broker_is_skipped_and_one_that_is_missing_fails() -> None:
    ours = {"a": recording(CLOSE, name="a"), "b": recording(CLOSE, name="b")}
    told_of = {check.name: check for check in comparison().checks(ours, {}, {"a": "no way to raise an alarm"})}
    assert (told_of["a"].result, told_of["b"].result) == ("skipped", "failed")
    assert told_of["a"].explanation == "it ran on amqpd only: no way to raise an alarm"


def test_equal_frames_do_not_differ() -> None:
    assert list(differences([[sent("a"), CLOSE]], [[sent("a"), CLOSE]])) == []


def test_the_first_differing_frame_is_told_with_what_both_sent() -> None:
    ours = recording(sent("queue.declare"), CLOSE)
    theirs = recording(sent("queue.declare"), came("queue.declare-ok", queue="q", message_count=0))
    check = comparison().check(ours, theirs)
    assert (check.name, check.result) == ("test_x.test_y[a]", "failed")
    assert check.explanation == (
        "connection 1, frame 2: amqpd `channel.close 406 PRECONDITION_FAILED - x (queue.declare) on channel 1`, "
        "RabbitMQ `queue.declare-ok queue='q' on channel 1`"
    )


def test_a_frame_too_many_is_a_difference() -> None:
    (difference,) = differences([[sent("a")]], [[sent("a"), came("b")]])
    assert told(difference) == "connection 1, frame 2: amqpd `nothing more`, RabbitMQ `b on channel 1`"


def test_a_connection_too_many_is_a_difference() -> None:
    (difference,) = differences([[sent("a")]], [[sent("a")], [sent("b")]])
    assert (difference.connection, difference.frame) == (2, 1)


def test_frames_of_one_method_are_compared_on() -> None:
    found = list(differences([[came("a", n=1), came("b", n=1)]], [[came("a", n=2), came("b", n=2)]]))
    assert [place for difference in found for place, _, _ in difference.places()] == ["a/n", "b/n"]


def test_frames_of_different_methods_differ_at_a_place_that_names_both() -> None:
    for ours, theirs, place in (
        (came("a"), came("b"), "frame/a/b"),
        (came("a"), None, "frame/a/nothing"),
        ({"from": "server", "end": True}, sent("a"), "frame/end/a"),
    ):
        (difference,) = differences([[ours]], [[theirs] if theirs else []])
        assert [found for found, _, _ in difference.places()] == [place]


def test_after_frames_of_different_methods_nothing_more_is_said() -> None:
    assert len(list(differences([[came("a"), came("b")]], [[came("b"), came("a")]]))) == 1


def test_the_channel_of_a_frame_counts() -> None:
    assert list(differences([[came("a", 1)]], [[came("a", 2)]]))


# Listed differences


def test_a_listed_place_passes_and_the_next_difference_is_told() -> None:
    one = comparison(START)
    assert one.check(recording(start("3.13.7")), recording(start("3.10.8"))).result == "passed"
    check = one.check(recording(start("3.13.7"), came("a")), recording(start("3.10.8"), came("b")))
    assert check.result == "failed"
    assert check.explanation.startswith("connection 1, frame 2:")
    assert list(one.unseen()) == []


def test_a_listed_place_is_for_its_scenarios_only() -> None:
    one = comparison(Shown(facts.VERSION, START.places, ("test_z.*",)))
    assert one.check(recording(start("3.13.7")), recording(start("3.10.8"))).result == "failed"


def test_a_bracket_in_the_name_of_a_scenario_is_meant_literally() -> None:
    one = comparison(Shown(facts.VERSION, START.places, ("test_z.*", "test_x.test_y[a]")))
    assert one.check(recording(start("3.13.7")), recording(start("3.10.8"))).result == "passed"


def test_a_listed_place_that_does_not_differ_any_more_is_reported() -> None:
    one = comparison(START)
    one.check(recording(start("3.13.7")), recording(start("3.13.7")))
    (check,) = one.unseen()
    assert (check.name, check.result) == ("*: connection.start/server_properties/version/1", "failed")


def test_a_listed_place_that_was_not_looked_at_is_not_reported() -> None:
    one = comparison(START)
    assert one.check(recording(skipped="no such plugin"), recording()).result == "skipped"
    assert list(one.unseen()) == []


def test_a_marked_row_passes_when_it_differs() -> None:
    check = comparison().check(recording(came("a"), differs="FLOW"), recording(came("b"), differs="FLOW"))
    assert check.result == "passed"
    assert facts.FLOW.rabbitmq in check.explanation


def test_a_marked_row_fails_when_it_does_not_differ() -> None:
    check = comparison().check(recording(came("a"), differs="FLOW"), recording(came("a"), differs="FLOW"))
    assert check.result == "failed"


def test_a_marked_row_passes_when_only_the_row_itself_sees_the_difference() -> None:
    theirs = recording(came("a"), differs="FLOW", failed=True)
    assert comparison().check(recording(came("a"), differs="FLOW"), theirs).result == "passed"


def test_a_place_that_is_listed_for_every_row_does_not_make_a_marked_row_differ() -> None:
    one = comparison(START)
    ours, theirs = (recording(start(version), differs="FLOW") for version in ("3.13.7", "3.10.8"))
    assert one.check(ours, theirs).result == "failed"


def test_the_row_about_a_listed_place_differs_there() -> None:
    one = comparison(START)
    ours, theirs = (recording(start(version), differs="VERSION") for version in ("3.13.7", "3.10.8"))
    assert one.check(ours, theirs).result == "passed"


def test_a_scenario_that_ran_on_one_broker_only_is_reported() -> None:
    only = {"s": recording(name="s")}
    assert [check.result for check in comparison().checks(only, {})] == ["failed"]
    assert [check.result for check in comparison().checks({}, only)] == ["failed"]


# Words


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (None, "nothing more"),
        ({"from": "server", "end": True}, "end of the connection"),
        ({"from": "client", "octets": "AMQP\\x00"}, "octets AMQP\\x00"),
        ({"from": "server", "channel": 1, "body": 2, "text": "ab"}, "body of 2 octets 'ab' on channel 1"),
        ({"from": "server", "channel": 1, "body": 9999, "digest": "d"}, "body of 9999 octets 'd' on channel 1"),
        (came("basic.ack", delivery_tag=1, multiple=False), "basic.ack delivery_tag=1 on channel 1"),
        (
            {
                "from": "server",
                "channel": 2,
                "header": 60,
                "size": 1,
                "properties": {"headers": {"a": ["A", [["I", 1]]]}},
            },
            "header of 1 octets headers={a: A[I 1]} on channel 2",
        ),
        (
            came("connection.close", 0, reply_code=503, reply_text="x", class_id=99, method_id=1),
            "connection.close 503 x (99/1)",
        ),
    ],
)
def test_frames_in_words(item: Item | None, words: str) -> None:
    assert worded(item) == words


def test_long_frames_are_cut() -> None:
    assert len(worded(came("a", value="x" * 1000))) == SHOWN + 3
