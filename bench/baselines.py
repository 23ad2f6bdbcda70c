"""The baselines of ingest: a bare FastAPI route, and a route that starts a workflow in the request.

Both validate the same body as ingest and store nothing. They run with the same process settings as
the API.

    python -m bench.baselines --port 9000 [--temporal 127.0.0.1:7233]
"""

import argparse
import gc
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Annotated, Literal

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, Field
from temporalio import workflow
from temporalio.client import Client

TASK_QUEUE = "bench-minimal"


class ReceiptBody(BaseModel):
    """The receipt's fields with the contract's rules."""

    provider: Literal["stripe", "shopify"]
    provider_event_id: str | None = None
    stripe_event_id: str | None = None
    event_type: Literal[
        "checkout.session.completed",
        "invoice.paid",
        "customer.subscription.deleted",
        "customer.subscription.updated",
        "charge.refunded",
        "charge.dispute.created",
        "orders/paid",
        "orders/fulfilled",
        "customers/create",
        "checkouts/create",
    ]
    effect_type: Literal[
        "access_unlock",
        "credit_grant",
        "seat_update",
        "subscription_state_apply",
        "access_revocation",
        "credit_deduction",
    ]
    internal_reference: Annotated[str, Field(min_length=1, max_length=255)]
    occurred_at: datetime
    shopify_shop_domain: str | None = None
    timeout_minutes: float | None = None
    payload: dict[str, object] | None = None


@workflow.defn(name="minimal")
class Minimal:
    """The minimal workflow that waits for a result: one timer and one signal."""

    def __init__(self) -> None:
        self.is_done = False

    @workflow.signal
    def done(self) -> None:
        self.is_done = True

    @workflow.run
    async def run(self, seconds: int) -> None:
        try:
            await workflow.wait_condition(lambda: self.is_done, timeout=timedelta(seconds=seconds))
        except TimeoutError:
            return


def create_app(temporal: str | None) -> FastAPI:
    clients: list[Client] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if temporal is not None:
            clients.append(await Client.connect(temporal))
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/bare", status_code=202)
    async def bare(body: ReceiptBody) -> dict[str, object]:
        return {
            "accepted": True,
            "event_id": f"evt_{uuid.uuid4().hex}",
            "timeout_at": "2026-11-23T12:30:00.000Z",
        }

    @app.post("/temporal", status_code=202)
    async def start(body: ReceiptBody) -> dict[str, object]:
        event_id = f"evt_{uuid.uuid4().hex}"
        await clients[0].start_workflow("minimal", 1800, id=event_id, task_queue=TASK_QUEUE)
        return {"accepted": True, "event_id": event_id, "timeout_at": "2026-11-23T12:30:00.000Z"}

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--temporal")
    chosen = parser.parse_args()
    uvicorn.run(
        create_app(chosen.temporal),
        host="127.0.0.1",
        port=chosen.port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        server_header=False,
    )


if __name__ == "__main__":
    main()
