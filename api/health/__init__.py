"""Liveness and readiness endpoints, and the heartbeat of the API process."""
