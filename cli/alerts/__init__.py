"""`makegood destination`: alert destinations, and the sender of their test alerts."""
