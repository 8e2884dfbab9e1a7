"""Topic exchange: against a regular expression, and how little of the trie a message visits."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amqpd.broker.queue import Destination
from amqpd.exchanges.topic import Node, TopicExchange
from tests.exchanges.building import NO_HEADERS, bind, destination, make, routed, unbind

patterns = st.lists(st.sampled_from(("a", "b", "", "*", "#", "#", "a#", "**")), max_size=7).map(".".join)
keys = st.lists(st.sampled_from(("a", "b", "", "c", "a#", "**")), max_size=7).map(".".join)


def oracle(pattern: str) -> re.Pattern[str]:
    """Each word of a key is written ``word.``, so that no word at all is the empty text."""
    words = pattern.split(".") if pattern else []
    parts = {"*": r"[^.]*\.", "#": r"(?:[^.]*\.)*"}
    return re.compile("".join(parts.get(word, re.escape(word) + r"\.") for word in words))


def matches(pattern: str, key: str) -> bool:
    return oracle(pattern).fullmatch(f"{key}." if key else "") is not None


@settings(max_examples=400)
@given(st.lists(patterns, unique=True, max_size=12), st.lists(keys, max_size=6))
def test_it_agrees_with_a_regular_expression(bound: list[str], routing_keys: list[str]) -> None:
    exchange = make(TopicExchange)
    for pattern in bound:
        bind(exchange, destination(pattern), pattern)
    for key in [*routing_keys, *bound]:
        assert routed(exchange, key) == {pattern for pattern in bound if matches(pattern, key)}, key


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("#", ["", "a", "a.b", ".", "..."], []),
        ("*", ["a", "A"], ["", "a.b", "."]),
        ("", [""], ["a", "."]),
        ("a.*.b", ["a.x.b", "a..b"], ["a.b", "a.x.y.b"]),
        ("*.*", ["a.", ".", "a.b"], ["a", "a.b.c"]),
        ("a.#.b", ["a.b", "a.x.b", "a.x.y.b", "a..b"], ["a", "b", "a.b.c"]),
        ("#.a", ["a", "x.a", "x.y.a"], ["", "a.x"]),
        ("#.#", ["", "a", "a.b"], []),
        ("a.*", ["a.b", "a."], ["a", "a.b.c"]),
        ("a#", ["a#"], ["a", "ab", "a.b"]),
        ("Key", ["Key"], ["key"]),
    ],
)
def test_edges_seen_on_rabbitmq(pattern: str, matching: list[str], others: list[str]) -> None:
    exchange = make(TopicExchange)
    bind(exchange, destination("q"), pattern)
    for key in matching:
        assert routed(exchange, key) == {"q"}, key
        assert matches(pattern, key), key
    for key in others:
        assert routed(exchange, key) == set(), key
        assert not matches(pattern, key), key


@given(st.lists(st.tuples(patterns, st.integers(0, 2)), unique=True, max_size=12), st.data())
def test_unbinding_everything_leaves_an_empty_trie(rows: list[tuple[str, int]], data: st.DataObject) -> None:
    exchange = TopicExchange("/", "x", True, False, False, {})
    queues = [destination(str(number)) for number in range(3)]
    bound = {row: bind(exchange, queues[row[1]], row[0]) for row in rows}
    for row in data.draw(st.permutations(rows)):
        unbind(exchange, bound.pop(row))
        # Every leaf that is left is the end of a binding.
        assert all(node.destinations or not node.empty() for node in nodes_of(exchange.root)[1:])
        for key in ("", "a", "a.b", "b..a"):
            assert routed(exchange, key) == {str(number) for pattern, number in bound if matches(pattern, key)}
    assert exchange.root.empty()


def nodes_of(root: Node) -> list[Node]:
    """All nodes, the root first."""
    nodes = [root]
    for node in nodes:
        nodes += [child for child in (*node.children.values(), node.star, node.hash) if child is not None]
    return nodes


def visited(exchange: TopicExchange, routing_key: str) -> int:
    """How many nodes a message's walk comes to.

    Each node gets a mark behind an edge ``#``, which a walk follows from every node it comes to, at once and
    to the end of the key. A node that has such an edge shares the mark of the node behind it.
    """
    marks: dict[Destination, int] = {}
    for node in nodes_of(exchange.root):
        marker = destination("mark")
        if node.hash is None:
            node.hash = Node()
            marks[marker] = 1
        else:
            marks[marker] = 0
        node.hash.destinations.append(marker)
    found: list[Destination] = []
    exchange.route(routing_key, NO_HEADERS, found)
    return sum(count for marker, count in marks.items() if marker in set(found))


def with_bindings(patterns_bound: list[str]) -> TopicExchange:
    exchange = TopicExchange("/", "x", True, False, False, {})
    for pattern in patterns_bound:
        bind(exchange, destination(pattern), pattern)
    return exchange


@pytest.mark.parametrize("count", [10, 5000])
def test_bindings_that_do_not_match_are_not_visited(count: int) -> None:
    matching = ["stock.*.nyse", "stock.#", "stock.ibm.nyse"]
    others = [f"other.{number}.*" for number in range(count)]
    others += [f"stock.ibm.nyse.{number}.#" for number in range(count)]
    others += [f"*.x{number}.nyse" for number in range(count)]
    exchange = with_bindings([*matching, *others])
    found: list[Destination] = []
    exchange.route("stock.ibm.nyse", NO_HEADERS, found)
    assert sorted(to.name for to in found) == sorted(matching)
    # root, stock, stock.*, stock.*.nyse, stock.ibm, stock.ibm.nyse, and the star of the root.
    assert visited(exchange, "stock.ibm.nyse") <= 8


@pytest.mark.parametrize("words", [10, 30, 100])
def test_many_hashes_do_not_multiply(words: int) -> None:
    """A (node, word) pair is visited once, so the walk is not exponential."""
    exchange = with_bindings([".".join(["#", "a"] * 40 + ["b"]), ".".join(["#"] * 60), "#.*.#.*.#"])
    key = ".".join(["a"] * words)
    found: list[Destination] = []
    exchange.route(key, NO_HEADERS, found)
    assert {to.name for to in found} == {".".join(["#"] * 60), "#.*.#.*.#"}
    # The last # of a pattern may be reached once for every word.
    assert len(found) <= 2 * (words + 1) ** 2


def test_the_longest_key_and_pattern_are_routed() -> None:
    exchange = make(TopicExchange)
    for pattern in ("." * 255, ".".join(["*"] * 128), ".".join(["#"] * 128), "*" + "." * 254):
        bind(exchange, destination(pattern), pattern)
    assert routed(exchange, "." * 255) == {"." * 255, ".".join(["#"] * 128)}
    assert routed(exchange, "." * 127) == {".".join(["*"] * 128), ".".join(["#"] * 128)}


def test_the_answer_depends_on_the_key_only() -> None:
    assert make(TopicExchange).key_only
