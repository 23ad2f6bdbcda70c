"""Projects with their settings, API keys, signing secrets, and their deletion."""
