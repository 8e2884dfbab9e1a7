"""Tests of amqpd.session."""
