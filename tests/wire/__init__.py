"""Tests of amqpd.wire."""
