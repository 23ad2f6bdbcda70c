"""The first steps of a project, and for whom its checklist is hidden."""
