"""`makegood demo`: an installation with a demo shop whose jobs fail, and the repair of each."""
