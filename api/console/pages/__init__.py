"""One module for each page or group of pages of the console, with its addresses and rules."""
