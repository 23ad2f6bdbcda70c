"""The signed callback to a repair endpoint: prepare, send, judge the response, record the attempt."""
