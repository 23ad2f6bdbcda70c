"""Small values that every package uses: timestamps, text, clocks and round-robin order."""
