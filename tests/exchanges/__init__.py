"""Tests of amqpd.exchanges."""
