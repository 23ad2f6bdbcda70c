"""Sources in a worker process: Temporal's worker that lists them, and the loop of their health."""
