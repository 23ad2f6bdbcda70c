"""Serves the API in a separate thread, for callers without an event loop, such as generated
requests.
"""

import asyncio
import threading
from dataclasses import dataclass
from queue import Queue

import hypothesis

from api.app import create_app
from domain.ids import EventId, IncidentId
from domain.projects import Scope
from domain.repairing.bulk import Plan
from domain.users import Role
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.people import invitations, members, sessions, users
from store.projects.projects import create_project
from store.repairing.bulk_repairs import NewBulkRepair, add_bulk_repair
from store.sources.sources import add_source
from tests.api.serving import Caller, parts_on, routes_of, serving
from tests.conftest import SECRET_KEY
from tests.support.sources import new_source

# Generated requests are the same in every run, and have no deadline.
GENERATED = hypothesis.settings(
    deadline=None,
    database=None,
    derandomize=True,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)


@dataclass(frozen=True, slots=True)
class Served:
    """The address of a served API, a key, an owner's session, the ids of its objects and all
    routes.
    """

    address: str
    api_key: str
    session_token: str
    ids: dict[str, str]
    routes: list[tuple[str, str]]


class ServedApart:
    """Serves the API in a separate thread."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._reports: Queue[Served | BaseException] = Queue()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Served:
        self._thread.start()
        report = self._reports.get(timeout=30)
        if isinstance(report, BaseException):
            raise report
        return report

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=20)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:  # the edge of a thread: the test raises it again
            self._reports.put(error)
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        sealer, database = Sealer(SECRET_KEY), Database.open(self._url)
        async with database.transaction() as session:
            now, scopes = await database.now(session), frozenset(Scope)
            made = await create_project(
                session,
                sealer,
                name="generated",
                livemode=False,
                repair_url="https://shop.example/repair",
                scopes=scopes,
                now=now,
            )
            user = await users.redeem_login_link(
                session, token=await users.create_login_link(session, now=now), now=now
            )
            assert user is not None
            owned = {"project_id": made.project.id, "role": Role.OWNER, "now": now}
            for user_id in (
                user.user_id,
                (await users.create_user(session, email="ada@shop.example", now=now)).user_id,
            ):
                await members.grant(session, user_id=user_id, **owned)
            await invitations.invite(
                session, email="bob@shop.example", invited_by=user.user_id, **owned
            )
            (invited,) = await invitations.list_invitations(session, made.project.id, now=now)
            elsewhere = await sessions.open_session(session, user_id=user.user_id, now=now)
            (opened,) = await sessions.list_sessions(
                session, user.user_id, now=now, token=elsewhere
            )
            session_token = await sessions.open_session(session, user_id=user.user_id, now=now)
            source = await add_source(
                session, sealer, project_id=made.project.id, new=new_source(), now=now
            )
        parts = parts_on(database, sealer, rate_limit=100_000, rate_burst=100_000)
        app = create_app(parts)
        async with serving(app) as client:
            caller = Caller(client, made.api_key)
            event_id = await caller.accept()
            incident_id = await caller.incident_of(event_id)
            repair = await caller.ask("POST", f"/incidents/{incident_id}/reprocess")
            ids = {"event_id": event_id, "replay_id": repair.json()["replay_id"]}
            ids |= {"incident_id": await caller.incident_of(await caller.accept())}
            incident = await caller.ask("GET", f"/incidents/{ids['incident_id']}")
            ids["group_id"] = incident.json()["group_id"]
            ids |= {"project_id": made.project.id, "key_id": made.key.id, "name": "base.css"}
            ids |= {"user_id": user_id, "invitation_id": invited.id, "session_id": opened.id}
            ids |= {"source_id": source.id}
            view = await caller.ask("POST", "/views", json={"name": "Seats"})
            ids["view_id"] = view.json()["id"]
            of_none = {"internal_reference": "of no receipt", "reason": "generated"}
            ids["hold_id"] = (await caller.ask("POST", "/holds", json=of_none)).json()["id"]
            slack = {"kind": "slack", "url": "https://hooks.example/T1/B1"}
            added = await caller.ask("POST", "/alert-destinations", json=slack)
            ids["destination_id"] = added.json()["id"]
            member = IncidentId(ids["incident_id"]), EventId(event_id)
            bulk = NewBulkRepair("generated", user.user_id, Plan(), False, [member])
            async with database.transaction() as session:
                ids["bulk_id"] = await add_bulk_repair(session, made.project.id, bulk, now)
            self._reports.put(
                Served(str(client.base_url), made.api_key, session_token, ids, routes_of(app))
            )
            await self._stop.wait()
        await database.close()
