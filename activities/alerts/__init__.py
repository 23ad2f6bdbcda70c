"""Sending alerts: `send` is the activity, `delivery` sends one alert, `message` writes it.

`channels` is what all channels have in common, `email` the one that there is.
"""
