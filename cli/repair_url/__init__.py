"""The test call of a repair URL: its command, and the caller that the processes share."""
