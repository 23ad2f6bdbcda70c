"""Groups of incidents: joined, counted, alerted, read, and acted on."""
