"""What the processes report: heartbeats, facts, and which Temporal namespace the installation uses."""
