"""Alert destinations: list, add, change, remove, test; and what the links in alert mails do."""
