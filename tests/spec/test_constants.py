"""Constants: against pamqp's copy of the specification (methods: tests/wire/test_methods.py)."""

from __future__ import annotations

import pamqp.commands
import pamqp.constants
import pamqp.exceptions

from amqpd.spec import constants


def test_frame_types_and_the_end_octet() -> None:
    assert constants.FRAME_METHOD == pamqp.constants.FRAME_METHOD
    assert constants.FRAME_HEADER == pamqp.constants.FRAME_HEADER
    assert constants.FRAME_BODY == pamqp.constants.FRAME_BODY
    assert constants.FRAME_HEARTBEAT == pamqp.constants.FRAME_HEARTBEAT
    assert constants.FRAME_END == pamqp.constants.FRAME_END
    assert constants.FRAME_MIN_SIZE == pamqp.constants.FRAME_MIN_SIZE
    version = bytes(pamqp.constants.VERSION)
    assert b"AMQP\0" + version == constants.PROTOCOL_HEADER


def test_reply_names_are_the_specifications() -> None:
    for code, error in pamqp.exceptions.CLASS_MAPPING.items():
        name: str = vars(error)["name"]
        assert constants.REPLY_NAMES[code] == name.replace("-", "_")


def test_property_flags_are_the_specifications() -> None:
    names = {"message_type": "TYPE"}
    for name, flag in pamqp.commands.Basic.Properties.flags.items():
        ours = f"FLAG_{names.get(name, name.upper())}"
        assert getattr(constants, ours) == flag
