"""A good answer of the API, as bytes."""

import json

from tests.sdks.merchant import ANSWER

BODY = json.dumps(ANSWER).encode()
GOOD = b"HTTP/1.1 202 Accepted\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (
    len(BODY),
    BODY,
)
