"""What the worker does by itself about incidents that operators look after."""
