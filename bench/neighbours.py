"""Measures whether a project whose repair endpoint hangs delays another project's callbacks.

    python -m bench.neighbours [--calls 100] [--hanging 150] [--rounds 3]

It uses the API over HTTP, one worker and Temporal's dev server. In each round the repairs of one
project are requested at 2 a second, twice:

1. Alone.
2. After more repairs of another project were requested than the worker has slots. The endpoint of
   that project accepts the connection and never answers.

The time from each request to the callback's arrival is measured. Bound: in the median round, p99
beside the hanging project is under twice that of the project alone.
"""

import argparse
import asyncio
import json
import re
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import httpx

from bench.figures import check_bound, p99, print_spread
from bench.fill_store import new_numbers
from bench.load import receipt_body
from bench.processes import Installation, api, install, run_command, temporal_server, worker
from bench.watch import wait_until

CALLS_PER_SECOND = 2.0
WARM_CALLS = 5  # not measured: a worker's first workflows and callbacks take longer
MOST_RATIO = 2.0
SCOPES = [argument for scope in ("ingest", "read", "operate") for argument in ("--scope", scope)]


class Endpoint:
    """A repair endpoint that records when each callback arrived. A hanging one never answers."""

    def __init__(self, *, hangs: bool) -> None:
        self.arrived: dict[str, float] = {}
        self._hangs = hangs
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *([0-9]+)", head)
        assert length is not None, head
        body = await reader.readexactly(int(length[1]))
        self.arrived.setdefault(json.loads(body)["replay_id"], asyncio.get_running_loop().time())
        if self._hangs:
            self._writers.append(writer)
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    def hang_up(self) -> None:
        """Close the hanging connections."""
        self._hangs = False
        for writer in self._writers:
            writer.close()
        self._writers.clear()


@dataclass(frozen=True, slots=True)
class Project:
    """One project with an endpoint on an address of its own, and an HTTP client with its key."""

    http: httpx.AsyncClient
    endpoint: Endpoint = field(repr=False)

    async def incidents(self, count: int) -> list[str]:
        """Create so many open incidents and return their ids."""
        return [await self._incident(number) for number in new_numbers(count)]

    async def _incident(self, number: str) -> str:
        receipt = await self.http.post(
            "/api/v1/receipt", content=receipt_body(number), headers={"Idempotency-Key": number}
        )
        event_id = receipt.json()["event_id"]
        failed = {"event_id": event_id, "status": "failed"}
        result = await self.http.post(
            "/api/v1/result", json=failed, headers={"Idempotency-Key": number}
        )
        assert result.status_code == 202, result.text
        return str((await self.http.get(f"/api/v1/events/{event_id}")).json()["incident"]["id"])

    async def reprocess(self, incident_id: str) -> str:
        """Request a repair and return its id."""
        response = await self.http.post(f"/api/v1/incidents/{incident_id}/reprocess")
        assert response.status_code == 202, response.text
        return str(response.json()["replay_id"])

    async def lags(self, incident_ids: list[str]) -> list[float]:
        """Milliseconds from each request to its callback, without the first `WARM_CALLS`."""
        loop = asyncio.get_running_loop()
        began_at = loop.time()

        async def request(index: int, incident_id: str) -> tuple[str, float]:
            await asyncio.sleep(max(0.0, began_at + index / CALLS_PER_SECOND - loop.time()))
            requested_at = loop.time()
            return await self.reprocess(incident_id), requested_at

        requested = await asyncio.gather(
            *(request(index, incident_id) for index, incident_id in enumerate(incident_ids))
        )

        async def all_arrived() -> bool:
            return all(replay_id in self.endpoint.arrived for replay_id, _ in requested)

        await wait_until(all_arrived, what="every callback arrived")
        return [
            (self.endpoint.arrived[replay_id] - requested_at) * 1000
            for replay_id, requested_at in requested[WARM_CALLS:]
        ]


@asynccontextmanager
async def project(
    installation: Installation, name: str, address: str, *, hangs: bool
) -> AsyncIterator[Project]:
    """Create a project whose endpoint listens on this loopback address."""
    endpoint = Endpoint(hangs=hangs)
    server = await asyncio.start_server(endpoint.serve, address, 0)
    url = f"http://{address}:{server.sockets[0].getsockname()[1]}/repair"
    create = ("project", "create", name, "--mode", "test", "--repair-url", url, *SCOPES, "--json")
    made = await asyncio.to_thread(run_command, installation.environment, *create)
    headers = {
        "Authorization": f"Bearer {made['api_key']}",
        "Accept": "application/json",
        "Content-Type": "application/json",
    }
    async with httpx.AsyncClient(
        base_url=installation.api_url, headers=headers, timeout=30
    ) as http:
        yield Project(http, endpoint)
    endpoint.hang_up()
    server.close()


async def gauge(installation: Installation, name: str) -> int:
    """The value of a gauge in `/metrics`."""
    async with httpx.AsyncClient() as http:
        page = (await http.get(f"{installation.api_url}/metrics")).text
    return int(float(re.findall(rf"(?m)^makegood_{name} ([0-9.]+)$", page)[0]))


async def waiting_callbacks(installation: Installation) -> int:
    """How many callbacks wait for a slot."""
    return await gauge(installation, "callbacks_waiting")


async def measure_round(
    installation: Installation, number: int, *, calls: int, hanging: int
) -> tuple[list[float], list[float]]:
    """The lags of one project alone, and beside a hanging project."""
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(
            project(installation, f"ours-{number}", "127.0.0.1", hangs=False)
        )
        theirs = await stack.enter_async_context(
            project(installation, f"theirs-{number}", f"127.0.0.{number + 2}", hangs=True)
        )
        incidents_alone, incidents_beside = (
            await ours.incidents(calls + WARM_CALLS),
            await ours.incidents(calls + WARM_CALLS),
        )
        incident_ids = await theirs.incidents(hanging)

        async def are_sent() -> bool:
            return not await gauge(installation, "outbox_rows") and not await gauge(
                installation, "alerts_unsent"
            )

        # The dispatch of the incidents is not measured.
        await wait_until(are_sent, what="every incident is sent to Temporal and mailed")
        alone = await ours.lags(incidents_alone)
        for incident_id in incident_ids:
            await theirs.reprocess(incident_id)

        async def are_settled() -> bool:
            return len(theirs.endpoint.arrived) + await waiting_callbacks(installation) >= hanging

        # The burst of requests itself is not measured.
        await wait_until(are_settled, what="each callback of the hanging project is sent or waits")
        print(
            f"  round {number + 1}: {await waiting_callbacks(installation)} callbacks wait",
            flush=True,
        )
        beside = await ours.lags(incidents_beside)
        for incident_id in incident_ids:
            response = await theirs.http.post(
                f"/api/v1/incidents/{incident_id}/resolve", json={"reason": "measured"}
            )
            assert response.status_code < 300, response.text
    return alone, beside


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--calls", type=int, default=100, help="of the measured project, in each measurement"
    )
    parser.add_argument("--hanging", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    measured: list[tuple[list[float], list[float]]] = []
    with (
        tempfile.TemporaryDirectory(prefix="makegood-bench-") as directory,
        temporal_server(Path(directory) / "temporal") as temporal,
    ):
        installation = install(Path(directory) / "ours", temporal=temporal)
        installation.environment["MAKEGOOD_EGRESS_ALLOW"] = "127.0.0.0/8"
        with api(installation):
            for number in range(chosen.rounds):
                with worker(installation):
                    lags = asyncio.run(
                        measure_round(
                            installation, number, calls=chosen.calls, hanging=chosen.hanging
                        )
                    )
                p50s, p99s = [
                    " and ".join(f"{of(each):.0f}" for each in lags) for of in (median, p99)
                ]
                print(
                    f"  round {number + 1}, alone and beside: p50 {p50s} ms, p99 {p99s} ms",
                    flush=True,
                )
                measured.append(lags)
    alone, beside = [p99(lags) for lags, _ in measured], [p99(lags) for _, lags in measured]
    print_spread("request to callback, p99: alone", alone, "ms")
    print_spread("request to callback, p99: beside a hanging project", beside, "ms")
    ratios = [b / a for a, b in zip(alone, beside, strict=True)]
    return 0 if check_bound("beside / alone, p99", median(ratios), most=MOST_RATIO) else 1


if __name__ == "__main__":
    sys.exit(main())
