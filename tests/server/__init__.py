"""Tests of amqpd.server."""
