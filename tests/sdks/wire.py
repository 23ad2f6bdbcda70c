"""A server that answers with given bytes, and programs that make given calls with each client."""

import json
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.sdks.merchant import command, environment

HERE = Path(__file__).parent
LANGUAGES = {"python": "run_calls.py", "node": "run_calls.mjs", "php": "run_calls.php"}
PHP_PROCESSES = 8
Answer = Callable[[str, bytes, socket.socket], None]


@contextmanager
def raw_server(
    answer: Answer, *, wrap: Callable[[socket.socket], socket.socket] = lambda plain: plain
) -> Iterator[int]:
    """Serves one request for each connection:

    `answer(path, request, connection)`. Yields the port.
    """
    connections: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection:
            connection.settimeout(30)
            try:
                with wrap(connection) as wrapped:
                    request = _read_request(wrapped)
                    answer(request.split(b" ", 2)[1].decode(), request, wrapped)
            except (OSError, IndexError):
                pass  # the client has gone: that is its right

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(threading.Thread(target=serve, args=(connection,), daemon=True))
            connections[-1].start()

    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join(10)
    for thread in connections:
        thread.join(10)


def _read_request(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        received += _more(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    length = next(
        int(line[15:])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    )
    while len(body) < length:
        body += _more(connection)
    return head + b"\r\n\r\n" + body


def _more(connection: socket.socket) -> bytes:
    received = connection.recv(65_536)
    if not received:
        raise OSError("the client hung up")
    return received


def make_calls(
    language: str, calls: list[dict[str, Any]], **variables: str
) -> list[dict[str, Any]]:
    """The outcome of each call, in order. Python and Node.js make them at once in one process.

    PHP makes one call at a time, so that several processes share many calls.
    """
    if language != "php" or len(calls) <= PHP_PROCESSES:
        return _make_in_one_process(language, calls, **variables)
    shares = [calls[start::PHP_PROCESSES] for start in range(PHP_PROCESSES)]
    with ThreadPoolExecutor(PHP_PROCESSES) as pool:
        outcomes = pool.map(
            lambda share: _make_in_one_process(language, share, **variables), shares
        )
        by_share = list(outcomes)
    return [by_share[n % PHP_PROCESSES][n // PHP_PROCESSES] for n in range(len(calls))]


def _make_in_one_process(
    language: str, calls: list[dict[str, Any]], **variables: str
) -> list[dict[str, Any]]:
    ran = subprocess.run(
        [*command(language), str(HERE / LANGUAGES[language])],
        input=json.dumps(calls),
        env=environment() | {"no_proxy": "*"} | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    outcomes: list[dict[str, Any]] = json.loads(ran.stdout)
    return outcomes


class ScriptedAnswers:
    """Answers `/case/N/…` with the bytes of case N, one after the other, and then with a good 202;
    counts the requests.
    """

    def __init__(self, cases: list[dict[str, Any]], good: bytes) -> None:
        self.requests: Counter[str] = Counter()
        self._cases = cases
        self._good = good
        self._lock = threading.Lock()

    def __call__(self, path: str, request: bytes, connection: socket.socket) -> None:
        case = "/".join(path.split("/")[:3])
        with self._lock:
            number = self.requests[case]
            self.requests[case] += 1
        answers = self._cases[int(case.rpartition("/")[2])]["answers"]
        connection.sendall(
            answers[number].encode("latin-1") if number < len(answers) else self._good
        )
