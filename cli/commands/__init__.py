"""The commands that do one thing and exit: one module for each group."""
