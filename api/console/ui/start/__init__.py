"""The first steps of a project: their texts, and the code to copy in five languages."""
