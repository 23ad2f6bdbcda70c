"""What operators decide about an open incident or a waiting receipt: when its quiet times end,
which repairs are doubtful, and another deadline.
"""
