"""`makegood source`: its commands and their options."""
