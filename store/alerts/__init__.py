"""Alerts: which are due and who sends them (`claims`), what became of each (`delivery`), what they say (`facts`)."""
