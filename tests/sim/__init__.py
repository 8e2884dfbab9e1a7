"""Simulation of the whole broker on a fake clock and a faulty store."""
