"""What the page of an event shows: its queries, and the panel of its incident."""
