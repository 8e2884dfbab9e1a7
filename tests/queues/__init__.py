"""Tests of amqpd.queues."""
