"""uvicorn's reading of requests, with a bound on all that is not a body: what is not bounded is kept in memory until it ends.

Given to uvicorn by `api.main`. Bodies are bounded where they are read, in `api.http.request_body`.
"""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAXIMUM_HEAD_BYTES = 32 * 1024
# After the head: how a body is cut into chunks, and what follows it.
MAXIMUM_FRAMING_BYTES = 1024 * 1024
_TOO_LARGE = b"The request line and the headers may have 32 KiB together.\n"
_REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
    b"content-length: " + str(len(_TOO_LARGE)).encode() + b"\r\n\r\n" + _TOO_LARGE
)


class _HeadTooLarge(Exception):
    """Raised to the parser, which tells uvicorn that the request cannot be read."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection. A request with a larger head is answered 431, and never reaches the application."""

    _is_in_head = True
    _is_too_large = False
    # Received of the present request, without its body.
    _received = 0

    def data_received(self, data: bytes) -> None:
        if self._is_too_large:
            return
        self._received += len(data)
        super().data_received(data)
        if self._received > (MAXIMUM_HEAD_BYTES if self._is_in_head else MAXIMUM_FRAMING_BYTES) and not self._is_too_large:
            self._refuse()

    def on_message_begin(self) -> None:
        self._is_in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:  # what follows a body is read by nobody
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAXIMUM_HEAD_BYTES:
            self._is_too_large = True
            raise _HeadTooLarge
        self._is_in_head = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._received -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._is_in_head, self._received = True, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        if self._is_too_large:
            self._refuse()
        else:
            super().send_400_response(msg)

    def _refuse(self) -> None:
        self._is_too_large = True
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if self._is_in_head and not is_answering and not self.transport.is_closing():
            self.transport.write(_REFUSAL)
        self.transport.close()
