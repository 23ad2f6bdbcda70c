"""Builds the actor of an HTTP request for the audit log: a key or user, its address, a request id.

The address is the peer's, or the one that a trusted proxy reports.
"""

from starlette.requests import Request

from api.http.client_address import client_address
from domain.audit import VISITOR, Actor


def actor_of(request: Request, who: str = VISITOR) -> Actor:
    """The actor of this request; `who` is the id of a key or user, or `visitor` without sign-in."""
    trusted = getattr(request.app.state, "trusted_proxies", ())
    address = client_address(request, trusted=trusted)
    return Actor(
        who,
        address=None if address is None else str(address),
        request_id=getattr(request.state, "request_id", None),
    )
