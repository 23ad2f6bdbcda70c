"""The shop over HTTP: Stripe's webhook, the repair endpoint, and for those who try things out a
control and a view of the state.

Stripe's signature is checked by Stripe's own library, Makegood's by its Python client. Both answer
before the work is done, and after it is on disk.
"""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import stripe
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import RedirectResponse, Response
from makegood_client import CallbackVerifier, InvalidCallback, MakegoodError
from pydantic import BaseModel, ConfigDict, Field

from examples.merchant.shop import EFFECT_OF, Fault, Shop


class Control(BaseModel):
    """What to change; what is not named stays."""

    model_config = ConfigDict(extra="forbid")

    fault: Fault | None = None
    is_moved: bool | None = None
    repair_fault: Fault | None = None
    late_seconds: Annotated[float | None, Field(ge=0, le=600)] = None
    timeout_minutes: Annotated[float | None, Field(gt=0)] = None


async def raw_body(request: Request) -> bytes:
    """The body as it came: signatures are over these bytes."""
    return await request.body()


RawBody = Annotated[bytes, Depends(raw_body)]


def create_app(shop: Shop, *, stripe_secret: str, verifier: CallbackVerifier) -> FastAPI:
    """The shop's application; its work runs in a thread while it serves."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        stopped = threading.Event()
        worker = threading.Thread(target=shop.work_until, args=(stopped,), name="shop-work")
        worker.start()
        yield
        stopped.set()
        worker.join()

    app = FastAPI(title="Demo merchant", lifespan=lifespan)

    @app.post("/stripe/webhook", response_model=None)
    def stripe_webhook(request: Request, body: RawBody) -> dict[str, bool] | Response:
        """A payment event: verified, kept, its receipt sent, its work owed; then 200."""
        if shop.switches.is_moved:
            # As a web server in front does after the domain moved. Stripe follows no redirect.
            return RedirectResponse("/moved/stripe/webhook", status_code=307)
        try:
            event = stripe.Webhook.construct_event(
                body, request.headers.get("stripe-signature", ""), stripe_secret
            )
        except (ValueError, stripe.SignatureVerificationError):
            raise HTTPException(400, "not a genuine Stripe event") from None
        if event.type not in EFFECT_OF:
            return {"received": True}
        try:
            shop.take_event(event.to_dict())
        except MakegoodError as error:
            # Stripe sends it again: better than work that nobody watches.
            raise HTTPException(503, f"the receipt was not taken: {error.code}") from None
        return {"received": True}

    @app.post("/makegood/repair", status_code=202)
    def repair(request: Request, body: RawBody) -> dict[str, bool]:
        """Makegood asks for the effect again:

        verified, kept once for its replay_id; then 202, and the result follows.
        """
        attempt = request.headers.get("x-sendpromptly-attempt")
        try:
            callback = verifier.verify(request.headers, body)
        except InvalidCallback as invalid:
            shop.state.keep_callback(invalid.reason, attempt=attempt)
            raise HTTPException(401, invalid.reason) from None
        if callback.get("test"):
            return {"accepted": True}
        is_ours = shop.take_repair(callback)
        verdict = "verified" if is_ours else "unknown_order"
        shop.state.keep_callback(
            verdict, replay_id=callback["replay_id"], attempt=attempt, request=body.decode()
        )
        if not is_ours:
            raise HTTPException(404, "this shop has no such order")
        return {"accepted": True}

    @app.post("/control")
    def control(change: Control) -> dict[str, Any]:
        """Set the faults for what arrives from now on. A real shop has nothing like it."""
        for name in change.model_fields_set:
            value = getattr(change, name)
            if value is not None or name == "timeout_minutes":
                setattr(shop.switches, name, value)
        return switches()

    @app.get("/control")
    def switches() -> dict[str, Any]:
        """The faults that are set."""
        now = shop.switches
        return {
            "fault": now.fault,
            "is_moved": now.is_moved,
            "repair_fault": now.repair_fault,
            "late_seconds": now.late_seconds,
            "timeout_minutes": now.timeout_minutes,
        }

    @app.get("/state")
    def state() -> dict[str, Any]:
        """What the shop knows: orders, work, grants, callbacks."""
        return shop.state.shown()

    return app
