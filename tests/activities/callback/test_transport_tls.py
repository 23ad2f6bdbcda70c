"""TLS of `activities/callback/transport.py`: the name is verified for a connection to a checked
address.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from domain.retries import ErrorClass
from tests.activities.callback.test_transport import Endpoint, post, resolving, serving

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
NAME = "shop.example"
NOW, DAY = datetime.now(UTC), timedelta(days=1)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def endpoint(authority: trustme.CA) -> AsyncIterator[Endpoint]:
    # asyncio reports the server's side of a failed handshake to the loop's exception handler.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with serving(OK, tls=server_context(authority)) as endpoint:
        yield endpoint


def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NAME).configure_cert(context)
    return context


def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_certificate_for_the_name_is_accepted(
    authority: trustme.CA, endpoint: Endpoint
) -> None:
    resolver = resolving("127.0.0.1")

    outcome = await post(
        endpoint.port,
        scheme="https",
        host=NAME,
        resolver=resolver,
        ssl_context=client_context(authority),
    )

    assert (outcome.status, outcome.error_class) == (200, None)


@pytest.mark.parametrize("host", ["other.example", "127.0.0.1"])
async def test_certificate_for_another_name_is_refused(
    authority: trustme.CA, endpoint: Endpoint, host: str
) -> None:
    resolver = resolving("127.0.0.1")

    outcome = await post(
        endpoint.port,
        scheme="https",
        host=host,
        resolver=resolver,
        ssl_context=client_context(authority),
    )

    assert (outcome.status, outcome.error_class) == (None, ErrorClass.TLS_FAILED)
    assert endpoint.requests == []


async def test_unknown_authority_is_refused_by_default(endpoint: Endpoint) -> None:
    outcome = await post(endpoint.port, scheme="https", host=NAME, resolver=resolving("127.0.0.1"))

    assert outcome.error_class is ErrorClass.TLS_FAILED
    assert endpoint.requests == []


def self_signed() -> ssl.SSLContext:
    """A server whose certificate, for the right name and time, is signed by its own key."""
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)]),
    )
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), NOW - DAY, NOW + DAY
    )
    certificate = builder.add_extension(
        x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False
    ).sign(key, SHA256())
    pem = certificate.public_bytes(Encoding.PEM) + key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with trustme.Blob(pem).tempfile() as path:
        context.load_cert_chain(path)
    return context


@pytest.mark.parametrize(
    "kind", ["expired", "not yet valid", "self-signed", "of another authority"]
)
async def test_certificate_that_does_not_vouch_for_the_name_now_is_refused(
    authority: trustme.CA, kind: str
) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    match kind:
        case "expired":
            authority.issue_cert(
                NAME, not_before=NOW - 2 * DAY, not_after=NOW - DAY
            ).configure_cert(context)
        case "not yet valid":
            authority.issue_cert(
                NAME, not_before=NOW + DAY, not_after=NOW + 2 * DAY
            ).configure_cert(context)
        case "self-signed":
            context = self_signed()
        case _:
            trustme.CA().issue_cert(NAME).configure_cert(context)

    async with serving(OK, tls=context) as endpoint:
        outcome = await post(
            endpoint.port,
            scheme="https",
            host=NAME,
            resolver=resolving("127.0.0.1"),
            ssl_context=client_context(authority),
        )

    assert (outcome.status, outcome.error_class) == (None, ErrorClass.TLS_FAILED)
    assert endpoint.requests == []


async def test_demand_for_a_client_certificate_is_a_tls_failure(authority: trustme.CA) -> None:
    demanding = server_context(authority)
    demanding.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(demanding)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)

    async with serving(OK, tls=demanding) as endpoint:
        outcome = await post(
            endpoint.port,
            scheme="https",
            host=NAME,
            resolver=resolving("127.0.0.1"),
            ssl_context=client_context(authority),
        )

    # TLS 1.3 reports it only at the first read. The server may already have reset the connection.
    assert outcome.error_class in (ErrorClass.TLS_FAILED, ErrorClass.CONNECTION_RESET)


async def test_plain_server_behind_https_is_a_tls_failure() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(OK)
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    outcome = await post(server.sockets[0].getsockname()[1], scheme="https")
    server.close()

    assert outcome.error_class is ErrorClass.TLS_FAILED


async def test_silent_handshake_is_bounded_by_the_deadline_and_leaves_no_connection() -> None:
    hung_up = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        hung_up.set()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    outcome = await post(server.sockets[0].getsockname()[1], scheme="https", timeout_seconds=0.3)
    await asyncio.wait_for(hung_up.wait(), 5)
    server.close()

    assert outcome.error_class is ErrorClass.TIMEOUT
