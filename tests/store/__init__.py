"""Tests of amqpd.store."""
