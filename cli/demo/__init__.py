"""`makegood demo`: an installation with a small shop whose jobs die, and the repair of each."""
