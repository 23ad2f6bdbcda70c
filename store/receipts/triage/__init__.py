"""What operators decide about an open incident: when its quiet times end, and which repairs are
doubtful.
"""
