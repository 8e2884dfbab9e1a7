"""Tests of amqpd.auth."""
