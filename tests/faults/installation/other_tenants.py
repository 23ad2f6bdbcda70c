"""Load of other tenants in a run: wrong signals, heavy searches, odd ids, many waiting receipts.

None of it may harm the orders of the run. The receipts of these tenants are judged here as well:
each odd one has one incident, in time. Signals go to a tenth of the orders. The history holds each
`reprocess` among them, because it may act.
"""

import asyncio
import json
import random
import subprocess
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.workflowservice.v1 import QueryWorkflowRequest, SignalWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.service import RPCError

from tests.faults.installation.installation import Installation
from tests.faults.installation.orders import Merchant
from tests.support.processes import ROOT, python

SIGNALLED_SHARE = 10  # one in so many orders
SIGNAL_PAUSE_SECONDS = 0.2
ODD_ID = "\U0001f937" * 200
ODD_DEADLINE_SECONDS = (5.0, 40.0)
ODD_WITHIN_SECONDS = 60.0
ODD_SETTLES_SECONDS = 15.0
SEARCH_SECONDS = 10.0
FILL_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many receipts and searches other tenants have."""

    waiting: int = 100_000
    odd: int = 600
    searchers: int = 30
    mail_hangs_seconds: float = 40.0


@dataclass(slots=True)
class OtherTenants:
    """Two more projects of an installation, and people at Temporal's UI."""

    built: Installation
    crowd: Crowd
    seed: int
    searched: Counter[str] = field(default_factory=Counter)
    signalled: int = 0
    _greedy_key: str = ""
    _odd_key: str = ""
    # when the deadline of each accepted one is, by event
    _odd: dict[str, float] = field(default_factory=dict)

    async def arrive(self) -> None:
        """Before any process is at work: their projects, and the crowd that waits."""
        greedy, odd = await self._project("greedy"), await self._project("odd")
        self._greedy_key, self._odd_key = greedy["api_key"], odd["api_key"]
        command = python(
            "-m",
            "tests.faults.installation.crowd",
            self.built.database_url,
            greedy["project_id"],
            str(self.crowd.waiting),
        )
        await asyncio.to_thread(subprocess.run, command, cwd=ROOT, check=True, timeout=FILL_SECONDS)

    async def live(self, seconds: float) -> None:
        """Everything they do, for so long; their odd receipts come within the first half."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send_odd_receipts(seconds / 2))
            until = time.monotonic() + seconds
            group.create_task(self._signal(until))
            for number in range(self.crowd.searchers):
                group.create_task(self._search(number, until))

    async def judge(self) -> list[str]:
        """What went wrong with their own receipts, once the last of their deadlines is past."""
        wrong = []
        last_at = max(self._odd.values(), default=0.0) + ODD_SETTLES_SECONDS
        await asyncio.sleep(max(0.0, min(last_at - time.time(), ODD_WITHIN_SECONDS)))
        async with self._http(self._odd_key) as http:
            for event_id, due_at in self._odd.items():
                event = (
                    (await http.get(f"{self.built.apis[0]}/api/v1/events/{event_id}"))
                    .raise_for_status()
                    .json()
                )
                opened = [
                    entry for entry in event["timeline"] if entry["kind"] == "incident_opened"
                ]
                at = [datetime.fromisoformat(entry["at"]).timestamp() - due_at for entry in opened]
                if len(opened) != 1 or at[0] < -0.01 or at[0] > ODD_WITHIN_SECONDS:
                    opened_at = (
                        ", ".join(f"{late:.1f} s after its deadline" for late in at) or "never"
                    )
                    wrong.append(f"an odd receipt's incident opened {opened_at}: {event_id}")
        if len(self._odd) < self.crowd.odd:
            wrong.append(f"{self.crowd.odd - len(self._odd)} odd receipts were not accepted")
        if not self.searched["200"]:
            wrong.append(f"no search was ever answered: {dict(self.searched)}")
        return wrong

    async def _project(self, name: str) -> dict[str, str]:
        scopes = [word for scope in ("ingest", "read") for word in ("--scope", scope)]
        arguments = ("project", "create", name, "--mode", "test", *scopes, "--json")
        made: dict[str, str] = json.loads(await asyncio.to_thread(self.built.makegood, *arguments))
        return made

    def _http(self, api_key: str) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {api_key}", "Accept": "application/json"}
        limits = httpx.Limits(max_connections=None)
        return httpx.AsyncClient(
            headers=headers, trust_env=False, timeout=SEARCH_SECONDS, limits=limits
        )

    async def _search(self, number: int, until: float) -> None:
        """Look for what nobody has, which reads everything, again and again."""
        async with self._http(self._greedy_key) as http:
            while time.monotonic() < until:
                path = ("events", "incidents")[number % 2]
                url = f"{self.built.apis[number % len(self.built.apis)]}/api/v1/{path}"
                try:
                    answer = await http.get(url, params={"q": f"nobody-has-this-{number}"})
                    self.searched[str(answer.status_code)] += 1
                    await asyncio.sleep(
                        0.0 if answer.status_code == 200 else min(2.0, _retry_after(answer))
                    )
                except httpx.HTTPError as error:
                    self.searched[type(error).__name__] += 1
                    await asyncio.sleep(0.5)

    async def _send_odd_receipts(self, over_seconds: float) -> None:
        draw = random.Random(self.seed)
        async with self._http(self._odd_key) as http:
            for number in range(self.crowd.odd):
                deadline = draw.uniform(*ODD_DEADLINE_SECONDS)
                await self._send_odd_receipt(http, number, deadline)
                await asyncio.sleep(over_seconds / self.crowd.odd)

    async def _send_odd_receipt(
        self, http: httpx.AsyncClient, number: int, deadline_seconds: float
    ) -> None:
        body = {
            "provider": "shopify",
            "provider_event_id": f"{ODD_ID}{number}",
            "shopify_shop_domain": "odd.myshopify.com",
            "event_type": "orders/paid",
            "effect_type": "access_unlock",
            "internal_reference": f"odd-{number}",
            "occurred_at": "2026-11-23T12:00:00Z",
            "timeout_minutes": round(deadline_seconds / 60, 4),
        }
        while not self.built.merchant.ends.is_set():
            with suppress(httpx.HTTPError, ValueError):
                url = f"{self.built.apis[number % len(self.built.apis)]}/api/v1/receipt"
                answer = await http.post(
                    url, json=body, headers={"Idempotency-Key": f"odd-{number}"}
                )
                if answer.status_code == 202:
                    accepted = answer.json()
                    self._odd[accepted["event_id"]] = datetime.fromisoformat(
                        accepted["timeout_at"]
                    ).timestamp()
                    return
            await asyncio.sleep(0.5)

    async def _signal(self, until: float) -> None:
        """Wrong signals and queries to a tenth of the orders, as people type them."""
        draw = random.Random(self.seed)
        client: Client | None = None
        while time.monotonic() < until:
            await asyncio.sleep(SIGNAL_PAUSE_SECONDS)
            try:
                client = client or await Client.connect(self.built.temporal_address)
                if event_id := _chosen(self.built.merchant, draw):
                    await self._type(client, event_id, draw)
            except (RPCError, RuntimeError):
                continue  # Temporal is away, or the run has ended.

    async def _type(self, client: Client, event_id: str, draw: random.Random) -> None:
        run = WorkflowExecution(workflow_id=f"receipt-{event_id}")
        payloads = Payloads(payloads=[_payload(draw) for _ in range(draw.choice((0, 1, 1, 2, 7)))])
        service = client.workflow_service
        if draw.random() < 0.3:
            query = WorkflowQuery(
                query_type=draw.choice(("state", "timeline", "Zustand", "")), query_args=payloads
            )
            await service.query_workflow(
                QueryWorkflowRequest(namespace="default", execution=run, query=query)
            )
            return
        name = draw.choice(
            (
                "result",
                "result",
                "resolve",
                "expire",
                "reprocess",
                "repocess",
                "\U0001f4a9",
                "__temporal",
            )
        )
        if name == "reprocess":
            self.built.history.note("signalled", event=event_id, name=name)
        request = SignalWorkflowExecutionRequest(
            namespace="default", workflow_execution=run, signal_name=name, input=payloads
        )
        await service.signal_workflow_execution(request)
        self.signalled += 1


def _chosen(merchant: Merchant, draw: random.Random) -> str | None:
    """One of the tenth of the accepted orders that get wrong signals; newer ones are preferred."""
    meant = [
        event_id
        for event_id, order in merchant.accepted.items()
        if order.seed % SIGNALLED_SHARE == 0
    ]
    return draw.choice(meant[-20:]) if meant else None


def _payload(draw: random.Random) -> Payload:
    """What somebody may type or paste, and what no encoding explains."""
    values: tuple[Any, ...] = (
        None,
        True,
        17,
        -1e300,
        "",
        "rpl_0000",
        "\U0001f937" * 100,
        [],
        [1, [2, [3]]],
        {},
        {"replay_id": 5},
        {"replay_id": "rpl_" + "0" * 32, "requested_by": "jane@shop.example"},
        {"result_id": "res_" + "0" * 32, "status": "success"},
        {"result_id": "res_unknown", "status": "failed", "more": {"nested": [None]}},
        {"status": "done"},
        {"result_id": None, "status": None},
        "x" * 100_000,
    )
    data = json.dumps(draw.choice(values)).encode()
    kind = draw.random()
    if kind < 0.7:
        return Payload(metadata={"encoding": b"json/plain"}, data=data)
    if kind < 0.8:
        return Payload(metadata={"encoding": b"json/plain"}, data=b"{not json \xff\xfe")
    if kind < 0.9:
        return Payload(metadata={"encoding": b"no/such"}, data=b"\x00\xff")
    return Payload(data=data)


def _retry_after(answer: httpx.Response) -> float:
    text = answer.headers.get("Retry-After", "1")
    return float(text) if text.isdecimal() else 1.0
