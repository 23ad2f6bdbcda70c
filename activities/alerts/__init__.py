"""Sending alerts: `send` is the activity; the other files write a mail and hand it to the SMTP server."""
