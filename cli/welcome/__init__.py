"""What `makegood up` shows when all is ready: the banner with its secrets, and the browser."""
