"""What each client makes of odd answers, from the shared vectors and from servers that never come
to an end.
"""

import json
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.sdks.merchant import SDKS
from tests.sdks.wire import LANGUAGES, ScriptedAnswers, make_calls, raw_server
from tests.sdks.wire_answers import GOOD

CASES: list[dict[str, Any]] = json.loads((SDKS / "vectors" / "answers.json").read_text())["cases"]


EXPECTED = ("verdict", "status", "detail", "request_id", "retryable", "retry_after")


@pytest.mark.parametrize("language", LANGUAGES)
def test_client_agrees_with_every_vector_of_answers(language: str) -> None:
    server = ScriptedAnswers(CASES, GOOD)
    with raw_server(server) as port:
        calls = [
            {
                "base_url": f"http://127.0.0.1:{port}/case/{number}",
                "call": case["call"],
                "fields": case["fields"],
            }
            for number, case in enumerate(CASES)
        ]

        outcomes = make_calls(language, calls)

    found = {
        case["name"]: (
            {name: outcome.get(name) for name in EXPECTED if name in case}
            | {"calls": server.requests[f"/case/{number}"]}
        )
        for number, (case, outcome) in enumerate(zip(CASES, outcomes, strict=True))
    }
    assert found == {
        case["name"]: {name: case[name] for name in (*EXPECTED, "calls") if name in case}
        for case in CASES
    }


def silent(path: str, request: bytes, connection: socket.socket) -> None:
    connection.recv(1)  # until the client hangs up


def drip_head(path: str, request: bytes, connection: socket.socket) -> None:
    _drip(connection, b"HTTP/1.1 202 Accepted\r\nX-Slow: ")


def drip_body(path: str, request: bytes, connection: socket.socket) -> None:
    _drip(connection, b"HTTP/1.1 202 Accepted\r\nContent-Length: 500\r\n\r\n{")


def drip_interim_answers(path: str, request: bytes, connection: socket.socket) -> None:
    for _ in range(200):
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        time.sleep(0.1)


def drip_chunks(path: str, request: bytes, connection: socket.socket) -> None:
    _drip(connection, b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n1", byte=b"0")


def _drip(connection: socket.socket, start: bytes, byte: bytes = b"x") -> None:
    """Ends when the client hangs up, so that `sendall` raises; 20 s at the latest."""
    connection.sendall(start)
    for _ in range(200):
        time.sleep(0.1)
        connection.sendall(byte)


@pytest.mark.spread
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "answer",
    [silent, drip_head, drip_body, drip_interim_answers, drip_chunks],
    ids=lambda answer: answer.__name__,  # type: ignore[no-any-return]
)
def test_whole_call_ends_in_time(answer: Any, language: str) -> None:
    seconds: list[float] = []

    def timed(path: str, request: bytes, connection: socket.socket) -> None:
        started_at = time.monotonic()
        try:
            answer(path, request, connection)
        finally:
            seconds.append(time.monotonic() - started_at)

    with raw_server(timed) as port:
        call = {
            "base_url": f"http://127.0.0.1:{port}",
            "call": "receipt",
            "fields": {},
            "attempts": 2,
            "timeout_seconds": 1,
        }
        (outcome,) = make_calls(language, [call])

    assert (outcome["verdict"], outcome["status"], outcome["retryable"]) == (
        "network_error",
        None,
        True,
    )
    assert 1 <= len(seconds) <= 2
    # The bound of the whole call, with room for a busy machine.
    assert sum(seconds) < 3


@pytest.mark.parametrize("language", LANGUAGES)
def test_silent_first_attempt_leaves_time_for_another(language: str) -> None:
    requests: list[bytes] = []

    def first_silent(path: str, request: bytes, connection: socket.socket) -> None:
        requests.append(request)
        if len(requests) == 1:
            return silent(path, request, connection)
        connection.sendall(GOOD)

    with raw_server(first_silent) as port:
        call = {
            "base_url": f"http://127.0.0.1:{port}",
            "call": "receipt",
            "fields": {},
            "timeout_seconds": 4,
        }
        (outcome,) = make_calls(language, [call])

    assert outcome["verdict"] == "accepted"
    assert len(requests) == 2


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "framing", [b"Content-Length: 1000000000", b"Connection: close"], ids=["length", "no end"]
)
def test_answer_of_any_size_is_not_read_to_its_end(framing: bytes, language: str) -> None:
    sent = 0
    is_over = threading.Event()

    def endless(path: str, request: bytes, connection: socket.socket) -> None:
        nonlocal sent
        try:
            connection.sendall(b"HTTP/1.1 202 Accepted\r\n" + framing + b"\r\n\r\n")
            while sent < 200_000_000:
                connection.sendall(b"x" * 65_536)
                sent += 65_536
        finally:
            is_over.set()

    with raw_server(endless) as port:
        call = {
            "base_url": f"http://127.0.0.1:{port}",
            "call": "receipt",
            "fields": {},
            "timeout_seconds": 10,
        }
        (outcome,) = make_calls(language, [call])
        assert is_over.wait(10)

    assert (outcome["verdict"], outcome["retryable"]) == ("unexpected_answer", False)
    assert sent < 20_000_000  # 1 MiB, and what the system and the client's runtime buffer


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "proxy",
    [
        "http://u:PASSWORD%zz@127.0.0.1:notaport",
        "socks5://u:PASSWORD@127.0.0.1:1",
        "http://127.0.0.1:1",
        "PASSWORD",
    ],
)
def test_no_proxy_of_the_environment_is_used_or_quoted(proxy: str, language: str) -> None:
    names = ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY")

    def answer(path: str, request: bytes, connection: socket.socket) -> None:
        connection.sendall(GOOD)

    with raw_server(answer) as port:
        calls = [
            {"base_url": url, "call": "receipt", "fields": {}, "attempts": 1}
            for url in (f"http://127.0.0.1:{port}", "http://127.0.0.1:1")
        ]
        outcomes = make_calls(language, calls, **dict.fromkeys(names, proxy), no_proxy="")

    assert [outcome["verdict"] for outcome in outcomes] == ["accepted", "network_error"]
    assert "PASSWORD" not in str(outcomes)


@pytest.mark.spread
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("host", ["xn--a", "a.xn--", "makegood.invalid", "a" * 63 + ".invalid"])
def test_name_that_cannot_be_looked_up_is_a_network_error(host: str, language: str) -> None:
    call = {"base_url": f"http://{host}:1", "call": "receipt", "fields": {}, "attempts": 1}

    (outcome,) = make_calls(language, [call])

    assert (outcome["verdict"], outcome["status"], outcome["retryable"]) == (
        "network_error",
        None,
        True,
    )


TOO_LARGE = (
    b"HTTP/1.1 413 Payload Too Large\r\nConnection: close\r\nContent-Length:"
    b' 42\r\n\r\n{"code":"payload_too_large","detail":"no"}'
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that vouches for itself, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "TLS"])
def test_php_reads_an_answer_that_comes_before_the_end_of_its_request(
    is_secure: bool, certificate: Path
) -> None:
    """Over TLS the broken connection takes no byte and counts as writable:

    the client would spin to the end of its time.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def refuse_early(plain: socket.socket) -> socket.socket:
        connection = context.wrap_socket(plain, server_side=True) if is_secure else plain
        connection.recv(1_000)
        connection.sendall(TOO_LARGE)
        time.sleep(0.3)  # as a server lingers, so that the client has filled every buffer and waits
        connection.close()
        raise OSError("the rest of the request is not read")

    with raw_server(silent, wrap=refuse_early) as port:
        url = f"{'https' if is_secure else 'http'}://127.0.0.1:{port}"
        call = {
            "base_url": url,
            "call": "receipt",
            "fields": {"a": "x" * 8_000_000},
            "attempts": 1,
            "timeout_seconds": 20,
        }
        started_at = time.monotonic()
        (outcome,) = make_calls("php", [call], SSL_CERT_FILE=str(certificate))
        seconds = time.monotonic() - started_at

    assert (outcome["verdict"], outcome["status"]) == ("payload_too_large", 413)
    assert seconds < 10


@pytest.mark.parametrize("language", LANGUAGES)
def test_tls_handshake_gets_no_more_time_than_the_call_has_left(language: str) -> None:
    """The queue of the listener is full at first, so that connecting takes a second of the two;
    then nothing is said.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        filling = [socket.create_connection(address)]
        call = {
            "base_url": f"https://127.0.0.1:{address[1]}",
            "call": "receipt",
            "fields": {},
            "attempts": 1,
        }
        ended: list[float] = []

        def serve() -> None:
            # as long as the client's first SYN finds no place: it is sent again after a second
            time.sleep(0.6)
            first, _ = listener.accept()
            second, _ = listener.accept()
            with first, second:
                second.settimeout(20)
                while second.recv(65_536):
                    continue
            ended.append(time.monotonic())

        serving = threading.Thread(target=serve)
        started_at = time.monotonic()
        serving.start()
        (outcome,) = make_calls(language, [{**call, "timeout_seconds": 2}])
        serving.join(30)
        for connection in filling:
            connection.close()

    assert (outcome["verdict"], outcome["retryable"]) == ("network_error", True)
    assert ended[0] - started_at < 2.8


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("is_trusted", [True, False], ids=["trusted", "not trusted"])
def test_client_calls_over_tls_only_whom_it_can_trust(
    is_trusted: bool, language: str, certificate: Path
) -> None:
    requests: list[bytes] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def keep(path: str, request: bytes, connection: socket.socket) -> None:
        requests.append(request)
        connection.sendall(GOOD)

    trust = (
        {"SSL_CERT_FILE": str(certificate), "NODE_EXTRA_CA_CERTS": str(certificate)}
        if is_trusted
        else {}
    )
    with raw_server(keep, wrap=lambda plain: context.wrap_socket(plain, server_side=True)) as port:
        call = {
            "base_url": f"https://127.0.0.1:{port}",
            "call": "receipt",
            "fields": {},
            "attempts": 1,
        }
        (outcome,) = make_calls(language, [call], **trust)

    assert outcome["verdict"] == ("accepted" if is_trusted else "network_error")
    assert len(requests) == (1 if is_trusted else 0)
