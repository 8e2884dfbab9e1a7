"""Definitions: users, vhosts, permissions, policies and topology as one JSON document, in RabbitMQ's schema.

1. A document is read and checked as a whole (``document``): it is definitions, or it is refused in one line.
2. An export (``exporting``) is a snapshot of what can be declared again: no exclusive queue, nothing named
   ``amq.*``, no binding of the default exchange.
3. An import (``importing``) takes one entry after the other, in an order in which each finds what it needs. It
   adds and changes, it never deletes. An entry that cannot go in is refused with RabbitMQ's reason and changes
   nothing; the others go in.
4. A comparison (``comparing``) is an import into a scratch broker: what it says is what an import would do.
"""
