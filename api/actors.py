"""Who acts over HTTP, for the audit log: a key or a user, with the address of the connection and the request's id.

The address is that of whoever connected: behind a proxy, the proxy's. What a caller says of itself in a header is not believed.
"""

from starlette.requests import Request

from domain.audit import VISITOR, Actor


def actor_of(request: Request, who: str = VISITOR) -> Actor:
    """The user or key of that id, at the other end of this request; `visitor` when nobody is signed in."""
    address = None if request.client is None else request.client.host
    return Actor(who, address=address, request_id=getattr(request.state, "request_id", None))
