"""`makegood up`: starts Temporal, worker, API and mailbox on one machine, and restarts processes
that die.
"""
