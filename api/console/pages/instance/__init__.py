"""The pages of the installation, for its administrators: health, versions, users."""
