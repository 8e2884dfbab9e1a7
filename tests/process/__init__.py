"""Tests of the broker as a process: started, stopped, killed, starved, and talked to over real sockets."""
