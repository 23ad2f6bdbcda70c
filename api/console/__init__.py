"""The operators' console: server-rendered pages.

`routes` lists them, `access` checks session and role.
"""
