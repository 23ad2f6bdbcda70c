"""Heartbeat of the worker process, and the canary workflow that proves it executes workflow tasks."""
