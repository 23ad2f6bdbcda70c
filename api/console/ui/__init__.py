"""What pages show: templates, labels, timeline texts, filters and list queries."""
