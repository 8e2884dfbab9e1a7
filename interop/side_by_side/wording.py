"""Frames in words, short enough for a line."""

from typing import Any

from interop.conformance.codec import METHODS_BY_ID

Item = dict[str, Any]
SHOWN = 300  # characters of a frame


def worded(item: Item | None) -> str:
    """``channel.close 406 PRECONDITION_FAILED - ... (queue.declare) on channel 1``; None is no frame."""
    if item is None:
        return "nothing more"
    text = _what(item) + (f" on channel {item['channel']}" if item.get("channel") else "")
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def _what(item: Item) -> str:
    if "end" in item:
        return "end of the connection"
    if "method" in item:
        return _method(item["method"], item["arguments"])
    if "header" in item:
        return f"header of {item['size']} octets {_values(item['properties'])}".rstrip()
    if "body" in item:
        return f"body of {item['body']} octets {item.get('text', item.get('digest'))!r}"
    return f"octets {item['octets']}"


def _method(name: str, arguments: dict[str, Any]) -> str:
    if name in ("channel.close", "connection.close"):
        ids = (arguments["class_id"], arguments["method_id"])
        culprit = METHODS_BY_ID[ids].name if ids in METHODS_BY_ID else f"{ids[0]}/{ids[1]}"
        return f"{name} {arguments['reply_code']} {arguments['reply_text']} ({culprit})"
    return f"{name} {_values(arguments)}".rstrip()


def _values(values: dict[str, Any]) -> str:
    """What is 0, empty or false is left out, as in most frames most of it is."""
    return " ".join(f"{name}={_value(value)}" for name, value in values.items() if value)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_typed(inner)}" for name, inner in value.items()) + "}"
    return repr(value)


def _typed(value: Any) -> str:
    """A value of a table, which is a pair of type letter and value."""
    letter, inner = value
    if letter == "F":
        return "F" + _value(inner)
    if letter == "A":
        return "A[" + ", ".join(_typed(one) for one in inner) + "]"
    return f"{letter} {inner!r}"
