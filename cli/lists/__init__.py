"""The list of incidents on the command line, its export and the saved views."""
