"""Alerts of a transition, and incidents and repairs as a page reads them."""
