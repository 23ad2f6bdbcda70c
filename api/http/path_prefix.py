"""The path prefix of the public URL: `/makegood` for `https://shop.example/makegood`.

A reverse proxy may remove the prefix from request paths or keep it. Both work, because
`without_prefix` removes it before anything reads the path. So routes, forms and logs see the same
paths in every installation. Links, redirects and cookies add the prefix again
(`api.console.ui.rendering`, `api.console.sign_in.sessions`).
"""

from urllib.parse import urlsplit

from starlette.types import Scope


def prefix_of(public_url: str) -> str:
    """The path of the public URL without a trailing slash. Empty at the root of a host."""
    return urlsplit(public_url).path.rstrip("/")


def without_prefix(scope: Scope, prefix: str) -> Scope:
    """The scope of an HTTP request without the prefix in its path.

    A path without the prefix is unchanged: a proxy removed it, or the request reached the port
    directly.
    """
    path: str = scope["path"]
    if path != prefix and not path.startswith(f"{prefix}/"):
        return scope
    return {**scope, "path": path.removeprefix(prefix) or "/"}
