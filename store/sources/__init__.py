"""Sources of the projects: their settings, what they saw at the provider, and their health."""
