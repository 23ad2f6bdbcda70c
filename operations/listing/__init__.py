"""What is made from the list of incidents: its export, and the saved views of people."""
