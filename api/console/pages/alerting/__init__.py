"""The pages of alerts: the forms of destinations, and what the links in mails open."""
