"""The commands that do one thing and end: one module for each group."""
