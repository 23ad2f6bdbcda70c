"""The checks that connect to services: the API, Temporal and the mail server. No mail is sent."""

import asyncio
import socket
import ssl

import aiosmtplib
import httpx

from activities.alerts.email_smtp import parse_mail_server
from cli.doctor.findings import Check, Finding, fail, ok, warn
from config.settings import Settings

CONNECT_SECONDS = 5


def service_checks(settings: Settings) -> tuple[Check, ...]:
    """The checks in the order of the output."""

    async def api() -> Finding:
        return await check_api(settings.public_url_or_default)

    async def temporal() -> Finding:
        return await check_temporal(settings)

    async def mail() -> Finding:
        return await check_mail(settings)

    return (Check("API", api), Check("Temporal", temporal), Check("Mail", mail))


async def check_api(url: str) -> Finding:
    """Whether the API answers, and whether it is ready."""
    try:
        async with httpx.AsyncClient(
            base_url=url, trust_env=False, timeout=CONNECT_SECONDS
        ) as client:
            alive = await client.get("/livez")
            ready = await client.get("/readyz")
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        return fail(
            f"no answer at {url} ({type(error).__name__})",
            fix="run `makegood up`, or correct MAKEGOOD_PUBLIC_URL",
        )
    if alive.status_code != 200:
        return fail(
            f"{url}/livez answered {alive.status_code}: another program?",
            fix="correct MAKEGOOD_PORT or MAKEGOOD_PUBLIC_URL",
        )
    if ready.status_code != 200:
        return fail(
            f"{url} is not ready: {_failed_checks(ready)}",
            fix="fix what it names; right after a start, wait a few seconds and run doctor again",
        )
    return ok(f"{url} is ready")


async def check_temporal(settings: Settings) -> Finding:
    """Whether the address accepts connections, and TLS if configured. The worker's heartbeat
    reports the rest.
    """
    host, _, port = settings.temporal_target.rpartition(":")
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(
                host.strip("[]"), int(port), ssl=_tls(settings)
            )
        writer.close()
    except ssl.SSLError as error:
        detail = (
            f"{settings.temporal_target} accepts connections, but not TLS with these settings"
            f" ({error.reason or error})"
        )
        return fail(detail, fix="correct TEMPORAL_TLS and TEMPORAL_TLS_*")
    except socket.gaierror:
        detail = f"the host name of {settings.temporal_target} cannot be resolved"
        return fail(detail, fix="correct TEMPORAL_ADDRESS, or this machine's DNS")
    except (OSError, TimeoutError, ValueError) as error:
        fix = (
            "run `makegood up`"
            if settings.temporal_address is None
            else "start the cluster, or correct TEMPORAL_ADDRESS and TEMPORAL_TLS_*"
        )
        return fail(
            f"nothing accepts connections at {settings.temporal_target} ({type(error).__name__})",
            fix=fix,
        )
    return ok(f"{settings.temporal_target} accepts connections")


async def check_mail(settings: Settings) -> Finding:
    """Whether the mail server answers, supports what the URL requires, and accepts the password."""
    is_built_in = settings.smtp_url is None
    fix = (
        "run `makegood up`"
        if is_built_in
        else "correct MAKEGOOD_SMTP_URL, or ask the operator of the mail server"
    )
    try:
        server = parse_mail_server(settings.smtp_url_or_default)
    except ValueError as error:
        return fail(str(error), fix="correct MAKEGOOD_SMTP_URL")
    client = aiosmtplib.SMTP(
        hostname=server.host,
        port=server.port,
        username=server.username,
        password=server.password,
        use_tls=server.is_implicit_tls,
        start_tls=server.starttls,
        timeout=CONNECT_SECONDS,
    )
    try:
        # Connecting includes EHLO, STARTTLS and sign-in, as the URL says.
        async with client:
            is_encrypted = (
                client.transport is not None
                and client.transport.get_extra_info("ssl_object") is not None
            )
    except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
        return fail(f"{server.host}:{server.port} ({type(error).__name__})", fix=fix)
    reached = f"{server.host}:{server.port} answers" + (
        "" if server.username is None else " and accepts the password"
    )
    if is_built_in:
        return ok(f"{reached}: the built-in mailbox, which forwards nothing")
    if server.username is not None and not is_encrypted:
        return warn(
            f"{reached}, but in clear text", fix="add ?starttls=required to MAKEGOOD_SMTP_URL"
        )
    return ok(f"{reached}{', encrypted' if is_encrypted else ''}")


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if not settings.uses_temporal_tls:
        return None
    context = ssl.create_default_context(cafile=settings.temporal_tls_ca_cert)
    context.set_alpn_protocols(["h2"])
    if settings.temporal_tls_client_cert is not None:
        context.load_cert_chain(settings.temporal_tls_client_cert, settings.temporal_tls_client_key)
    return context


def _failed_checks(answer: httpx.Response) -> str:
    """The failed checks of a /readyz response. Unknown checks only follow from the failed ones."""
    try:
        checks = answer.json()["checks"]
        failed = [
            f"{name} ({check['detail']})"
            for name, check in checks.items()
            if check["status"] == "failed"
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"it answered {answer.status_code}"
    return ", ".join(failed) or f"it answered {answer.status_code}"
