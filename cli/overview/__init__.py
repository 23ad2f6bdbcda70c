"""`makegood overview`, and the options of `makegood project set` about silence."""
