"""The security headers of every response. `api.middleware` and `api.ingest.endpoint` add them.

A page may replace a header of `STRICT`, such as its policy. The headers of `always` stay on every
response.
"""

from api.http.problems import Header

NOSNIFF: Header = (b"x-content-type-options", b"nosniff")
# One year. Only sent over TLS, because a browser then refuses plain HTTP to this host.
STRICT_TRANSPORT: Header = (b"strict-transport-security", b"max-age=31536000")
NO_STORE: Header = (b"cache-control", b"no-store")
_POLICY = b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
# No scripts, no frames, no caching, and no referrer on links.
STRICT: tuple[Header, ...] = (
    (b"content-security-policy", _POLICY),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    NO_STORE,
)


def always(public_url: str) -> tuple[Header, ...]:
    """The headers of every response; `public_url` is the installation's URL for users."""
    is_https = public_url.startswith("https://")
    return (NOSNIFF, STRICT_TRANSPORT) if is_https else (NOSNIFF,)
