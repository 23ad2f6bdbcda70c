"""Who acts over HTTP, for the audit log: a key or a user, with the address of the connection and the request's id.

The address is that of whoever connected, or what a trusted proxy says stood before it.
"""

from starlette.requests import Request

from api.http.client_address import client_address
from domain.audit import VISITOR, Actor


def actor_of(request: Request, who: str = VISITOR) -> Actor:
    """The user or key of that id, at the other end of this request; `visitor` when nobody is signed in."""
    address = client_address(request, trusted=getattr(request.app.state, "trusted_proxies", ()))
    return Actor(who, address=None if address is None else str(address), request_id=getattr(request.state, "request_id", None))
