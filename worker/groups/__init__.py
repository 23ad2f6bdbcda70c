"""Groups of incidents in a worker process: their gathered alerts, and incidents without a group."""
