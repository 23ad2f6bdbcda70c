"""Heartbeats of the processes, facts, and the Temporal namespace of the installation."""
