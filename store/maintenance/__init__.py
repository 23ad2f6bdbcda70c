"""Retention, backups, figures for metrics, and the files of the built-in mailbox."""
