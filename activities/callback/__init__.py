"""The signed callback to a repair endpoint: prepare, send, judge and record an attempt."""
