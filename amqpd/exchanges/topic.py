"""Topic exchange: a trie of words. Hot.

A binding key's words are the path to a node; ``*`` and ``#`` are edges of their own. A message walks only the edges
that can match its next word, so bindings that do not match cost nothing.

1. ``*`` is one word, ``#`` zero or more, only as whole words; an empty word is a word, an empty key is no words
   (RabbitMQ 3.10.8: ``#`` and the empty key match the empty key, ``*`` does not; ``a.*.b`` matches ``a..b``).
2. Several ``#`` could reach one node at one word in many ways: a walk visits a (node, word) pair once.
"""

from __future__ import annotations

from typing import final

from mypy_extensions import i64

from amqpd.broker.exchange import Binding, Exchange
from amqpd.broker.queue import Destination
from amqpd.wire.content import ContentHeader
from amqpd.wire.table import Table


@final
class Node:
    def __init__(self) -> None:
        self.children: dict[str, Node] = {}
        self.star: Node | None = None
        self.hash: Node | None = None
        self.destinations: list[Destination] = []

    def empty(self) -> bool:
        return not self.children and self.star is None and self.hash is None and not self.destinations


def words_of(key: str) -> list[str]:
    return key.split(".") if key else []


@final
class TopicExchange(Exchange):
    def __init__(
        self, vhost: str, name: str, durable: bool, auto_delete: bool, internal: bool, arguments: Table
    ) -> None:
        super().__init__(vhost, name, "topic", durable, auto_delete, internal, arguments)
        self.root: Node = Node()

    def binding_added(self, binding: Binding) -> None:
        node = self.root
        for word in words_of(binding.routing_key):
            node = _step(node, word)
        node.destinations.append(binding.destination)

    def binding_removed(self, binding: Binding) -> None:
        path: list[Node] = [self.root]
        words = words_of(binding.routing_key)
        for word in words:
            path.append(_step(path[-1], word))
        path[-1].destinations.remove(binding.destination)
        for depth in range(len(words) - 1, -1, -1):
            if not path[depth + 1].empty():
                return
            _prune(path[depth], words[depth])

    def route(self, routing_key: str, header: ContentHeader, found: list[Destination]) -> None:
        words = words_of(routing_key)
        seen: set[tuple[int, int]] = set()
        _walk(self.root, words, 0, found, seen)


def _step(node: Node, word: str) -> Node:
    """The child for a word of a binding key, made where it is missing."""
    child: Node | None
    if word == "*":
        child = node.star
        if child is None:
            child = node.star = Node()
    elif word == "#":
        child = node.hash
        if child is None:
            child = node.hash = Node()
    else:
        child = node.children.get(word)
        if child is None:
            child = node.children[word] = Node()
    return child


def _prune(node: Node, word: str) -> None:
    if word == "*":
        node.star = None
    elif word == "#":
        node.hash = None
    else:
        del node.children[word]


def _walk(node: Node, words: list[str], at: i64, found: list[Destination], seen: set[tuple[int, int]]) -> None:
    if at == len(words):
        if node.destinations:
            found.extend(node.destinations)
    else:
        child = node.children.get(words[at])
        if child is not None:
            _walk(child, words, at + 1, found, seen)
        if node.star is not None:
            _walk(node.star, words, at + 1, found, seen)
    skipper = node.hash
    if skipper is not None:
        rest = at
        while rest <= len(words):
            mark = (id(skipper), int(rest))
            if mark in seen:
                break
            seen.add(mark)
            _walk(skipper, words, rest, found, seen)
            rest += 1
