"""Tests of amqpd.spec."""
