"""What people do with an incident that they look after, and with the deadline of a receipt."""
