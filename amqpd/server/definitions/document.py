"""A document of definitions: what the file must be as a whole, before any entry of it is looked at."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

Entry = dict[str, Any]
Sections = dict[str, list[Any]]

# In the order of an import: what an entry needs stands in a section before its own.
SECTIONS: Final = (
    "users",
    "vhosts",
    "permissions",
    "topic_permissions",
    "global_parameters",
    "parameters",
    "policies",
    "exchanges",
    "queues",
    "bindings",
)
# What the definitions of a single vhost have.
VHOST_SECTIONS: Final = ("parameters", "policies", "exchanges", "queues", "bindings")
VERSIONS: Final = ("rabbit_version", "rabbitmq_version")


class NotDefinitions(ValueError):
    """The text is no document of definitions; one line."""


@dataclass(frozen=True)
class Document:
    """``sections``: those of ``SECTIONS`` that are there; their entries are not checked yet.

    ``version``: that of the RabbitMQ that wrote it; empty when it does not say.
    """

    sections: Sections = field(default_factory=dict)
    version: str = ""

    @property
    def of_one_vhost(self) -> bool:
        """It was exported from a single vhost: its entries may not say from which."""
        return not any(name in self.sections for name in SECTIONS if name not in VHOST_SECTIONS)

    def lacks_vhost(self) -> bool:
        """Some entry does not say which vhost it belongs to."""
        entries = (entry for name in VHOST_SECTIONS for entry in self.sections.get(name, ()))
        return any(isinstance(entry, dict) and "vhost" not in entry for entry in entries)

    def into(self, vhost: str) -> Document:
        """What of it goes into one vhost.

        All of a single vhost's definitions, whatever it was called there; of a whole broker's those of the
        vhost of this name.
        """
        everything = self.of_one_vhost
        sections = {
            name: [_moved(one, vhost) for one in entries if everything or _belongs(one, vhost)]
            for name, entries in self.sections.items()
            if name in VHOST_SECTIONS
        }
        return Document(sections, self.version)

    def pieces(self, bytes_max: int) -> Iterator[Sections]:
        """The entries in the order of an import, in documents of about ``bytes_max`` bytes of JSON each.

        An entry that is larger comes alone.
        """
        piece: Sections = {}
        size = 0
        for name, entry in self.entries():
            octets = len(json.dumps(entry)) + 2
            if size and size + octets > bytes_max:
                yield piece
                piece, size = {}, 0
            piece.setdefault(name, []).append(entry)
            size += octets
        if piece:
            yield piece

    def entries(self) -> Iterator[tuple[str, Any]]:
        """Section and entry, in the order of an import."""
        for name in SECTIONS:
            for entry in self.sections.get(name, ()):
                yield name, entry

    def with_hashes(self, hashed: Callable[[str], dict[str, str]]) -> Document:
        """The same with a hash wherever a user has a plain password.

        ``hashed`` gives ``password_hash`` and ``hashing_algorithm`` for a password; it may take its time.
        """
        users = [_hashed(one, hashed) for one in self.sections.get("users", [])]
        return Document(self.sections | {"users": users}, self.version) if users else self


def _belongs(entry: object, vhost: str) -> bool:
    return not isinstance(entry, dict) or entry.get("vhost", vhost) == vhost


def _moved(entry: object, vhost: str) -> object:
    return entry | {"vhost": vhost} if isinstance(entry, dict) else entry


def _hashed(entry: object, hashed: Callable[[str], dict[str, str]]) -> object:
    if not isinstance(entry, dict) or not isinstance(entry.get("password"), str) or "password_hash" in entry:
        return entry
    rest = {key: value for key, value in entry.items() if key != "password"}
    return rest | (hashed(entry["password"]) if entry["password"] else {"password_hash": ""})


def read_document(text: str | bytes) -> Document:
    """Raises NotDefinitions when the text is no JSON, or JSON of something else."""
    try:
        value = json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise NotDefinitions("not JSON that can be read: nested too deeply") from None
    except ValueError as error:
        raise NotDefinitions(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise NotDefinitions("not definitions: the JSON is no object")
    if not any(name in value for name in (*SECTIONS, *VERSIONS)):
        raise NotDefinitions(f"not definitions: none of {', '.join(SECTIONS)} is there")
    for name in SECTIONS:
        if not isinstance(value.get(name, []), list):
            raise NotDefinitions(f"not definitions: '{name}' is no list")
    version = next((value[name] for name in VERSIONS if isinstance(value.get(name), str)), "")
    return Document({name: value[name] for name in SECTIONS if name in value}, version)


def _no_number(word: str) -> object:
    raise ValueError(f"{word} is no number in JSON")


def label(section: str, entry: object) -> str:
    """An entry by the name an operator knows it by, in one line."""
    if not isinstance(entry, dict):
        return f"an entry of {section}"
    words = LABELS[section](_Words(entry)).encode("utf-8", "replace").decode()
    return " ".join(words.split())


def key(section: str, entry: Entry) -> str:
    """What tells an entry from others of its section: two with the same key are about the same thing."""
    return json.dumps([entry.get(name) or DEFAULTS.get(name) for name in KEYS[section]], sort_keys=True)


class _Words:
    """Values of an entry as words of a sentence; what is missing is said to be."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    def __getitem__(self, name: str) -> str:
        value = self.entry.get(name)
        return f"'{value}'" if isinstance(value, str) else "without " + name if value is None else json.dumps(value)

    def vhost(self) -> str:
        return f" in vhost {self['vhost']}" if "vhost" in self.entry else ""


def _named(what: str) -> Callable[[_Words], str]:
    return lambda words: f"{what} {words['name']}{words.vhost()}"


LABELS: Final[dict[str, Callable[[_Words], str]]] = {
    "users": _named("user"),
    "vhosts": _named("vhost"),
    "permissions": lambda words: f"permissions of user {words['user']}{words.vhost()}",
    "topic_permissions": lambda words: (
        f"topic permissions of user {words['user']} on exchange {words['exchange']}{words.vhost()}"
    ),
    "global_parameters": _named("global parameter"),
    "parameters": lambda words: f"{words.entry.get('component')} {words['name']}{words.vhost()}",
    "policies": _named("policy"),
    "exchanges": _named("exchange"),
    "queues": _named("queue"),
    "bindings": lambda words: (
        f"binding from exchange {words['source']} to {words.entry.get('destination_type') or 'queue'}"
        f" {words['destination']} with key '{words.entry.get('routing_key') or ''}'{words.vhost()}"
    ),
}

KEYS: Final[dict[str, tuple[str, ...]]] = {
    "users": ("name",),
    "vhosts": ("name",),
    "permissions": ("user", "vhost"),
    "topic_permissions": ("user", "vhost", "exchange"),
    "global_parameters": ("name",),
    "parameters": ("vhost", "component", "name"),
    "policies": ("vhost", "name"),
    "exchanges": ("vhost", "name"),
    "queues": ("vhost", "name"),
    "bindings": ("vhost", "source", "destination_type", "destination", "routing_key", "arguments"),
}

# What a binding may leave out.
DEFAULTS: Final[dict[str, object]] = {"destination_type": "queue", "routing_key": "", "arguments": {}}


def joined(documents: Iterable[Document]) -> Document:
    """Several files as one, in their order."""
    sections: Sections = {}
    version = ""
    for document in documents:
        for name, entries in document.sections.items():
            sections.setdefault(name, []).extend(entries)
        version = version or document.version
    return Document(sections, version)
