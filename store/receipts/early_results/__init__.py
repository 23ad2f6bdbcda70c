"""Results that came before their receipt: held, claimed by the receipt, and listed."""
