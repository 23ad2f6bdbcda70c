"""The alert channels over HTTP: one file for each, and `post`, the request that they share."""
