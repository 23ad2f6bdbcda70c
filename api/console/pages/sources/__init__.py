"""The pages and forms of a project's sources: list, set-up, health, report and settings."""
