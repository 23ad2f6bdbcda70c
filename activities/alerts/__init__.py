"""Sending alerts: `send` is the activity, the other files render a mail and hand it to the SMTP
server.
"""
