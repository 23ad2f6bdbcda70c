"""What the overview counts, how long things take, and which silence is unusual. Pure."""
