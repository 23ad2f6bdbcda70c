"""The activity that takes a step of a bulk repair."""
