"""The texts of a timeline: its entries in order, and a file for those of one area."""
