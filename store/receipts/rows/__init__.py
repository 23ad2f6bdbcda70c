"""Rows of incidents, repairs and alerts: written for a transition, and read for a page."""
