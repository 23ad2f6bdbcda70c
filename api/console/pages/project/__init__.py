"""What the pages of a project have beside their settings: checklist, test call, suspension."""
