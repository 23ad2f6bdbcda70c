"""Extends uvicorn's HTTP protocol with limits on request heads and on chunk framing.

uvicorn buffers both in memory without a limit. `api.main` passes the class to uvicorn. The limit
on bodies is in `api.http.request_body`.
"""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAXIMUM_HEAD_BYTES = 32 * 1024
# The bytes after the head that are not the body: chunk sizes and trailers.
MAXIMUM_FRAMING_BYTES = 1024 * 1024
_TOO_LARGE = (
    b"The request line and the headers are larger than 32 KiB together. Send shorter headers.\n"
)
_REFUSAL = b"\r\n".join(
    (
        b"HTTP/1.1 431 Request Header Fields Too Large",
        b"content-type: text/plain; charset=utf-8",
        b"connection: close",
        b"content-length: " + str(len(_TOO_LARGE)).encode(),
        b"",
        _TOO_LARGE,
    )
)


class _HeadTooLarge(Exception):
    """Aborts the parser, which reports an unreadable request to uvicorn."""


class BoundedProtocol(HttpToolsProtocol):
    """The server's side of one HTTP connection, with a limit on the head of a request.

    A request with a larger head gets a 431 and never reaches the application.
    """

    _is_in_head = True
    _is_too_large = False
    # Bytes of the current request, without its body.
    _received_bytes = 0

    def data_received(self, data: bytes) -> None:
        if self._is_too_large:
            return
        self._received_bytes += len(data)
        super().data_received(data)
        limit = MAXIMUM_HEAD_BYTES if self._is_in_head else MAXIMUM_FRAMING_BYTES
        if self._received_bytes > limit and not self._is_too_large:
            self._refuse()

    def on_message_begin(self) -> None:
        self._is_in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:  # trailers are ignored
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        header_bytes = sum(len(name) + len(value) for name, value in self.headers)
        if len(self.url) + header_bytes > MAXIMUM_HEAD_BYTES:
            self._is_too_large = True
            raise _HeadTooLarge
        self._is_in_head = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._received_bytes -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._is_in_head, self._received_bytes = True, 0
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
