"""What every answer tells a browser, the answers that no browser should see among them. `api.middleware` and
`api.ingest.endpoint` send it.

A page may say its own policy instead of `STRICT`'s; what `always` holds, no page can take away.
"""

from api.http.problems import Header

NOSNIFF: Header = (b"x-content-type-options", b"nosniff")
# A year; only where people come over TLS, since a browser then refuses plain HTTP to this host.
STRICT_TRANSPORT: Header = (b"strict-transport-security", b"max-age=31536000")
NO_STORE: Header = (b"cache-control", b"no-store")
# Nothing is run, framed or kept, and nobody is told where a link was.
STRICT: tuple[Header, ...] = (
    (b"content-security-policy", b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    NO_STORE,
)


def always(public_url: str) -> tuple[Header, ...]:
    """What is on every answer; `public_url` is where people reach this."""
    return (NOSNIFF, STRICT_TRANSPORT) if public_url.startswith("https://") else (NOSNIFF,)
