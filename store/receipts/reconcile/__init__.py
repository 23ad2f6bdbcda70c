"""What the worker's loops look for: passed deadlines, stalled repairs, and missing runs."""
