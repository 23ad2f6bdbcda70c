"""The test call of a project's repair URL."""
