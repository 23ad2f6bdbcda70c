"""The merchant's side of a run: seeded orders, each with a receipt, perhaps a result, perhaps a
repair; all is recorded.

A request that was not answered, or refused for now, is sent again with the same key, as the
contract asks of an app; a few give up at once. One in five is sent twice at once. An order
depends on its seed and on the answers alone.
"""

import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import httpx

from tests.faults.installation.history import History

REQUEST_SECONDS = 10.0
AT_ONCE = 40
AGAIN_SECONDS = (0.2, 0.8)
REPEATED = 0.2
GIVES_UP = 0.03
TRY_AGAIN = {408, 429, 500, 502, 503, 504}
FAR_MINUTES = 30


class Fate(StrEnum):
    """What becomes of an order:

    applied soon or close to its deadline; failed; not a word; a word too late.
    """

    APPLIED = "applied"
    CLOSE = "close"
    FAILED = "failed"
    SILENT = "silent"
    LATE = "late"


@dataclass(frozen=True, slots=True)
class Order:
    """One payment.

    `arrives_after` is in seconds; `repair_fails` says how many repairs fail before one works.
    """

    reference: str
    fate: Fate
    arrives_after: float
    deadline_seconds: float
    is_reprocessed: bool
    repair_fails: int
    seed: int


def plan_orders(
    count: int, *, over_seconds: float, deadlines: tuple[float, float], seed: int
) -> list[Order]:
    """So many orders, arriving over a time, their deadlines (where they matter) between the two."""
    draw = random.Random(seed)
    orders = []
    for number in range(count):
        fate = draw.choices(list(Fate), weights=(50, 10, 12, 20, 8))[0]
        near = draw.uniform(*deadlines)
        orders.append(
            Order(
                reference=f"order-{seed}-{number}",
                fate=fate,
                arrives_after=over_seconds * number / count,
                deadline_seconds=FAR_MINUTES * 60 if fate in (Fate.APPLIED, Fate.FAILED) else near,
                is_reprocessed=draw.random() < 0.7,
                repair_fails=1 if draw.random() < 0.1 else 0,
                seed=draw.randrange(2**32),
            )
        )
    return orders


@dataclass(slots=True)
class Merchant:
    """The app.

    `apis` are the base URLs of the API processes; `ends` is set when nothing is to be sent again
    any more.
    """

    history: History
    apis: tuple[str, ...]
    api_key: str
    ends: asyncio.Event = field(default_factory=asyncio.Event)
    accepted: dict[str, Order] = field(default_factory=dict)  # by event
    orders: dict[str, Order] = field(default_factory=dict)
    # when each API last did, by the monotonic clock
    accepted_at: dict[int, float] = field(default_factory=dict)
    _repaired: dict[str, int] = field(default_factory=dict)
    _handled: set[str] = field(default_factory=set)
    _numbers: int = 0
    _http: httpx.AsyncClient = field(init=False)
    _turns: tuple[asyncio.Semaphore, ...] = field(init=False)

    def __post_init__(self) -> None:
        headers = {"Authorization": f"Bearer {self.api_key}", "Accept": "application/json"}
        # So many at once to each API: the client's own pool loses its places when many give up
        # waiting.
        self._turns = tuple(asyncio.Semaphore(AT_ONCE) for _ in self.apis)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=AT_ONCE)
        self._http = httpx.AsyncClient(
            headers=headers, trust_env=False, timeout=REQUEST_SECONDS, limits=limits
        )

    async def trade(self, orders: list[Order]) -> None:
        """Run every order from its arrival. Returns when all have sent what they had to send."""
        self.orders.update((order.reference, order) for order in orders)
        began = time.monotonic()
        await asyncio.gather(*(self._live(order, began) for order in orders))

    async def close(self) -> None:
        """Let the connections go."""
        await self._http.aclose()

    async def _live(self, order: Order, began: float) -> None:
        draw = random.Random(order.seed)
        await asyncio.sleep(max(0.0, began + order.arrives_after - time.monotonic()))
        answer = await self._say(
            "receipt", f"receipt {order.reference}", _receipt(order), order.reference, draw
        )
        if answer is None or answer["status"] != 202:
            return
        event_id = answer["body"]["event_id"]
        self.accepted[event_id] = order
        due = time.monotonic() + order.deadline_seconds
        match order.fate:
            case Fate.SILENT:
                return
            case Fate.APPLIED | Fate.FAILED:
                await asyncio.sleep(draw.uniform(0.05, 2.0))
            case Fate.CLOSE:
                await asyncio.sleep(max(0.0, due - time.monotonic() + draw.uniform(-0.08, 0.05)))
            case Fate.LATE:
                await asyncio.sleep(max(0.0, due - time.monotonic() + draw.uniform(0.5, 4.0)))
        result: dict[str, Any] = {"event_id": event_id, "status": "success"}
        if order.fate is Fate.FAILED:
            result |= {"status": "failed", "error_code": "job_died"}
        await self._say("result", f"result {order.reference}", result, order.reference, draw)

    async def repair(self, body: str) -> None:
        """The job behind the repair endpoint:

        idempotent per `replay_id`, and it reports what became of it.
        """
        asked = json.loads(body)
        replay_id, order = asked["replay_id"], self.orders.get(asked["internal_reference"])
        if order is None or replay_id in self._handled:
            return
        self._handled.add(replay_id)
        tries = self._repaired[order.reference] = self._repaired.get(order.reference, 0) + 1
        status = "failed" if tries <= order.repair_fails else "success"
        draw = random.Random(f"{order.seed} {tries}")
        await asyncio.sleep(draw.uniform(0.0, 0.5))
        result = {"event_id": asked["event_id"], "status": status, "replay_id": replay_id}
        await self._say("result", f"repair {replay_id}", result, order.reference, draw)

    async def operate(self) -> None:
        """The operator:

        presses Reprocess on every open incident of an order that is to be repaired, until
        cancelled.
        """
        draw = random.Random(len(self.orders))
        pressing: set[asyncio.Task[None]] = set()
        busy: set[str] = set()
        while True:
            for incident in await self._open_incidents(draw):
                order = self.accepted.get(incident["event_id"])
                if order is None or not order.is_reprocessed or incident["id"] in busy:
                    continue
                busy.add(incident["id"])
                press = asyncio.create_task(self._press(incident, order, draw, busy))
                pressing.add(press)
                press.add_done_callback(pressing.discard)
            await asyncio.sleep(1.0)

    async def events(self) -> list[dict[str, Any]]:
        """Every event in full, as REST shows it now."""
        event_ids: list[str] = []
        cursor: str | None = None
        while True:
            query = {"limit": "100"} | ({"cursor": cursor} if cursor else {})
            page = await self._read("/api/v1/events", query)
            event_ids += [event["event_id"] for event in page["data"]]
            cursor = page["next_cursor"]
            if not page["has_more"]:
                break
        return [await self._read(f"/api/v1/events/{one}", {}) for one in event_ids]

    async def _read(self, path: str, query: dict[str, str]) -> Any:
        """What REST shows, after a second try if the server had just closed an idle connection."""
        try:
            answer = await self._http.get(self.apis[0] + path, params=query)
        except httpx.TransportError:
            answer = await self._http.get(self.apis[0] + path, params=query)
        return answer.raise_for_status().json()

    async def _open_incidents(self, draw: random.Random) -> list[dict[str, Any]]:
        try:
            answer = await self._http.get(
                f"{draw.choice(self.apis)}/api/v1/incidents",
                params={"state": "open", "limit": "100"},
            )
            return list(answer.json()["data"]) if answer.status_code == 200 else []
        except httpx.HTTPError:
            return []

    async def _press(
        self, incident: dict[str, Any], order: Order, draw: random.Random, busy: set[str]
    ) -> None:
        body = {"incident_id": incident["id"], "event_id": incident["event_id"]}
        await self._send(
            "reprocess", None, body, order.reference, draw.choice(range(len(self.apis)))
        )
        await asyncio.sleep(2.0)
        busy.discard(incident["id"])

    async def _say(
        self, endpoint: str, key: str, body: dict[str, Any], reference: str, draw: random.Random
    ) -> dict[str, Any] | None:
        """The answer that counts, after as many tries as it takes; None when it was given up."""
        if draw.random() < REPEATED:
            api = draw.randrange(len(self.apis))
            await asyncio.gather(
                *(
                    self._send(endpoint, key, body, reference, one % len(self.apis))
                    for one in (api, api + 1)
                )
            )
        gives_up = draw.random() < GIVES_UP
        while True:
            answer = await self._send(
                endpoint, key, body, reference, draw.randrange(len(self.apis))
            )
            if answer is not None and not _is_for_later(answer):
                return answer
            if self.ends.is_set() or gives_up:
                return None
            await asyncio.sleep(draw.uniform(*AGAIN_SECONDS))

    async def _send(
        self, endpoint: str, key: str | None, body: dict[str, Any], reference: str, api: int
    ) -> dict[str, Any] | None:
        """The answer to one request; None when none came."""
        async with self._turns[api]:
            return await self._send_now(endpoint, key, body, reference, api)

    async def _send_now(
        self, endpoint: str, key: str | None, body: dict[str, Any], reference: str, api: int
    ) -> dict[str, Any] | None:
        self._numbers += 1
        request = f"{endpoint}-{self._numbers}"
        self.history.note(
            "sent", request=request, endpoint=endpoint, key=key, body=body, api=api, order=reference
        )
        if endpoint == "reprocess":
            call = self._http.post(
                f"{self.apis[api]}/api/v1/incidents/{body['incident_id']}/reprocess"
            )
        else:
            call = self._http.post(
                f"{self.apis[api]}/api/v1/{endpoint}",
                json=body,
                headers={"Idempotency-Key": str(key)},
            )
        try:
            answer = await call
            content = answer.json()
        except (httpx.HTTPError, json.JSONDecodeError) as error:
            self.history.note("unknown", request=request, error=type(error).__name__)
            return None
        if endpoint == "receipt" and answer.status_code == 202:
            self.accepted_at[api] = time.monotonic()
        replayed = answer.headers.get("Idempotent-Replayed") == "true"
        self.history.note(
            "answered", request=request, status=answer.status_code, body=content, replayed=replayed
        )
        return {"status": answer.status_code, "body": content}


def _is_for_later(answer: dict[str, Any]) -> bool:
    return answer["status"] in TRY_AGAIN or answer["body"].get("code") == "idempotency_in_progress"


def _receipt(order: Order) -> dict[str, Any]:
    return {
        "provider": "stripe",
        "stripe_event_id": f"evt_{order.reference}",
        "event_type": "checkout.session.completed",
        "effect_type": "access_unlock",
        "internal_reference": order.reference,
        "occurred_at": "2026-11-23T12:00:00Z",
        "timeout_minutes": round(order.deadline_seconds / 60, 4),
    }
