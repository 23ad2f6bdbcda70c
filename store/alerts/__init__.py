"""Alerts: leased to senders (`claims`), recorded as sent or failed (`delivery`), their contents
(`facts`), and where they go (`destinations`).
"""
