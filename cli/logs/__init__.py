"""The log files of the children of `makegood up`, and `makegood logs`, which prints them."""
