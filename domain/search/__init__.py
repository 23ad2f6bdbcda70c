"""The search language of lists: its tokens, and the parser of a search text."""
