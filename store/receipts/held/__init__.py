"""Holds, and the repairs that they hold."""
