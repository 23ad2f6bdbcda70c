"""What a key may ask about objects of another project: for each operation, and what it sees."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.api.rest.test_sources import new_source
from tests.api.serving import Json, receipt

IDS = (
    *("project_id", "event_id", "incident_id", "replay_id", "source_id"),
    *("destination_id", "view_id", "group_id", "bulk_id", "hold_id"),
)
# The year 2100: later than every object.
AFTER_ALL_MS = 4_102_444_800_000


@dataclass(frozen=True, slots=True)
class Named:
    """The identifiers of one project's objects."""

    project_id: str
    event_id: str
    incident_id: str
    replay_id: str
    source_id: str
    destination_id: str
    view_id: str
    group_id: str
    bulk_id: str
    hold_id: str
    provider_event_id: str
    internal_reference: str
    entry_hash: str

    def cursor(self, identifier: str) -> str:
        """A list's cursor after this object: its time in milliseconds, and its id."""
        position = f"{AFTER_ALL_MS}:{identifier}"
        return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request; `sees` is the expected outcome."""

    path: str
    sees: str  # not_found | refused | unknown_parameter | nothing | its own
    query: Json | None = None
    body: Json | None = None


def lists(path: str, identifier: Callable[[Named], str]) -> Callable[[Named], list[Asked]]:
    """Requests of a list with each filter that can name a foreign object, and with a foreign
    cursor.
    """
    return lambda of: [
        Asked(path, "nothing", {"q": identifier(of)}),
        Asked(path, "nothing", {"q": of.provider_event_id}),
        Asked(path, "nothing", {"internal_reference": of.internal_reference}),
        Asked(path, "its own", {"cursor": of.cursor(identifier(of))}),
        Asked(path, "unknown_parameter", {"project_id": of.project_id, "project": of.project_id}),
    ]


def results(of: Named) -> list[Asked]:
    failed = {"status": "failed", "error_code": "boom"}
    return [
        Asked("/result", "not_found", body={**failed, **ids})
        for ids in (
            {"event_id": of.event_id},
            {"provider_event_id": of.provider_event_id},
            {"stripe_event_id": of.provider_event_id, "effect_type": "access_unlock"},
            {
                "event_id": of.event_id,
                "provider_event_id": of.provider_event_id,
                "replay_id": of.replay_id,
            },
            {"provider_event_id": "evt_of_the_asker", "replay_id": of.replay_id},
            {"event_id": of.event_id, "project_id": of.project_id},
        )
    ]


def _act_on_incident(act: str, body: Json, of: Named) -> list[Asked]:
    of_project = {**body, "project_id": of.project_id}
    return [Asked(f"/incidents/{of.incident_id}/{act}", "not_found", body=of_project)]


TABLE: dict[str, Callable[[Named], list[Asked]]] = {
    "POST /api/v1/result": results,
    "GET /api/v1/events": lists("/events", lambda of: of.event_id),
    "GET /api/v1/events/{event_id}": lambda of: [
        Asked(f"/events/{of.event_id}", "not_found"),
        Asked(f"/events/{of.event_id}", "unknown_parameter", {"project_id": of.project_id}),
    ],
    "GET /api/v1/events/{event_id}/timeline": lambda of: [
        Asked(f"/events/{of.event_id}/timeline", "not_found"),
        Asked(
            f"/events/{of.event_id}/timeline", "unknown_parameter", {"project_id": of.project_id}
        ),
    ],
    "GET /api/v1/events/{event_id}/repairs/{replay_id}": lambda of: [
        Asked(f"/events/{of.event_id}/repairs/{of.replay_id}", "not_found"),
        Asked(
            f"/events/{of.event_id}/repairs/{of.replay_id}",
            "unknown_parameter",
            {"project_id": of.project_id},
        ),
    ],
    "GET /api/v1/events/{event_id}/payload": lambda of: [
        Asked(f"/events/{of.event_id}/payload", "not_found"),
        Asked(f"/events/{of.event_id}/payload", "unknown_parameter", {"project_id": of.project_id}),
    ],
    "GET /api/v1/events/{event_id}/evidence": lambda of: [
        Asked(f"/events/{of.event_id}/evidence", "not_found"),
        Asked(
            f"/events/{of.event_id}/evidence", "unknown_parameter", {"project_id": of.project_id}
        ),
    ],
    "GET /api/v1/evidence-keys": lambda of: [
        Asked("/evidence-keys", "its own"),
        Asked("/evidence-keys", "unknown_parameter", {"project_id": of.project_id}),
    ],
    "POST /api/v1/events/{event_id}/expire": lambda of: [
        Asked(f"/events/{of.event_id}/expire", "not_found")
    ],
    "POST /api/v1/events/{event_id}/restart": lambda of: [
        Asked(f"/events/{of.event_id}/restart", "not_found")
    ],
    "GET /api/v1/incidents": lists("/incidents", lambda of: of.incident_id),
    "GET /api/v1/incidents/export": lambda of: [
        Asked("/incidents/export", "refused", {"format": "csv", "q": f"id:{of.incident_id}"}),
        Asked("/incidents/export", "unknown_parameter", {"project_id": of.project_id}),
    ],
    "GET /api/v1/incidents/{incident_id}": lambda of: [
        Asked(f"/incidents/{of.incident_id}", "not_found")
    ],
    "POST /api/v1/incidents/{incident_id}/reprocess": lambda of: [
        Asked(
            f"/incidents/{of.incident_id}/reprocess", "not_found", body={"replay_id": of.replay_id}
        )
    ],
    "POST /api/v1/incidents/{incident_id}/resolve": lambda of: [
        Asked(
            f"/incidents/{of.incident_id}/resolve",
            "not_found",
            body={"reason": "mine now", "project_id": of.project_id},
        )
    ],
    "POST /api/v1/incidents/{incident_id}/stop-repair": lambda of: [
        Asked(f"/incidents/{of.incident_id}/stop-repair", "not_found")
    ],
    "POST /api/v1/incidents/{incident_id}/acknowledge": lambda of: [
        Asked(f"/incidents/{of.incident_id}/acknowledge", "not_found")
    ],
    "DELETE /api/v1/incidents/{incident_id}/acknowledge": lambda of: [
        Asked(f"/incidents/{of.incident_id}/acknowledge", "not_found")
    ],
    **{
        f"POST /api/v1/incidents/{{incident_id}}/{act}": partial(_act_on_incident, act, body)
        for act, body in {
            "assign": {"assignee": None},
            "comments": {"text": "mine now"},
            "snooze": {"until": "2100-01-01T00:00:00Z"},
            "reopen": {"reason": "mine now"},
        }.items()
    },
    "PATCH /api/v1/events/{event_id}/deadline": lambda of: [
        Asked(
            f"/events/{of.event_id}/deadline",
            "not_found",
            body={"deadline_at": "2100-01-01T00:00:00Z", "project_id": of.project_id},
        )
    ],
    "GET /api/v1/groups": lambda of: [
        Asked("/groups", "its own", {"cursor": of.cursor(of.group_id)}),
        Asked("/groups", "unknown_parameter", {"project_id": of.project_id}),
    ],
    "GET /api/v1/groups/{group_id}": lambda of: [
        Asked(f"/groups/{of.group_id}", "not_found"),
        Asked(f"/groups/{of.group_id}", "unknown_parameter", {"project_id": of.project_id}),
    ],
    "POST /api/v1/groups/{group_id}/mute": lambda of: [
        Asked(
            f"/groups/{of.group_id}/mute",
            "not_found",
            body={"until": "2030-01-01T00:00:00Z", "project_id": of.project_id},
        )
    ],
    "POST /api/v1/groups/{group_id}/unmute": lambda of: [
        Asked(f"/groups/{of.group_id}/unmute", "not_found")
    ],
    "POST /api/v1/groups/{group_id}/acknowledge": lambda of: [
        Asked(f"/groups/{of.group_id}/acknowledge", "not_found")
    ],
    "POST /api/v1/groups/{group_id}/resolve": lambda of: [
        Asked(
            f"/groups/{of.group_id}/resolve",
            "not_found",
            body={"reason": "mine now", "project_id": of.project_id},
        )
    ],
    "GET /api/v1/early-results": lambda of: [
        Asked("/early-results", "nothing"),
        Asked("/early-results", "refused", {"cursor": of.event_id}),
        Asked("/early-results", "unknown_parameter", {"project_id": of.project_id}),
    ],
    "GET /api/v1/overview": lambda of: [
        Asked("/overview", "unknown_parameter", {"project_id": of.project_id}),
    ],
    "GET /api/v1/sources": lambda of: [
        Asked("/sources", "nothing"),
        Asked("/sources", "unknown_parameter", {"project_id": of.project_id}),
    ],
    "GET /api/v1/sources/{source_id}": lambda of: [
        Asked(f"/sources/{of.source_id}", "not_found"),
        Asked(f"/sources/{of.source_id}", "unknown_parameter", {"project_id": of.project_id}),
    ],
    "PATCH /api/v1/sources/{source_id}": lambda of: [
        Asked(
            f"/sources/{of.source_id}",
            "not_found",
            body={"name": "mine now", "project_id": of.project_id, "id": of.source_id},
        )
    ],
    "DELETE /api/v1/sources/{source_id}": lambda of: [
        Asked(f"/sources/{of.source_id}", "not_found")
    ],
    "POST /api/v1/sources/{source_id}/check": lambda of: [
        Asked(f"/sources/{of.source_id}/check", "not_found")
    ],
    "GET /api/v1/sources/{source_id}/report": lambda of: [
        Asked(f"/sources/{of.source_id}/report", "not_found"),
        Asked(f"/sources/{of.source_id}/report", "not_found", {"day": "2026-11-23"}),
        Asked(
            f"/sources/{of.source_id}/report", "unknown_parameter", {"project_id": of.project_id}
        ),
    ],
    "GET /api/v1/bulk-repairs": lambda of: [
        Asked("/bulk-repairs", "nothing"),
        Asked("/bulk-repairs", "refused", {"cursor": of.bulk_id}),
        Asked("/bulk-repairs", "unknown_parameter", {"project_id": of.project_id}),
    ],
    "GET /api/v1/bulk-repairs/{bulk_id}": lambda of: [
        Asked(f"/bulk-repairs/{of.bulk_id}", "not_found"),
        Asked(f"/bulk-repairs/{of.bulk_id}", "unknown_parameter", {"project_id": of.project_id}),
    ],
    **{
        f"POST /api/v1/bulk-repairs/{{bulk_id}}/{act}": partial(
            lambda act, of: [Asked(f"/bulk-repairs/{of.bulk_id}/{act}", "not_found")], act
        )
        for act in ("pause", "resume", "abort")
    },
    "POST /api/v1/bulk-repairs": lambda of: [
        Asked(
            "/bulk-repairs",
            "refused",
            body={"incident_ids": [of.incident_id], "reason": "x", "project_id": of.project_id},
        ),
        Asked(
            "/bulk-repairs",
            "refused",
            body={"incident_ids": [of.incident_id], "reason": "x", "dry_run": True},
        ),
        Asked("/bulk-repairs", "refused", body={"q": of.incident_id, "reason": "x"}),
    ],
    "GET /api/v1/holds": lambda of: [
        Asked("/holds", "nothing"),
        Asked("/holds", "unknown_parameter", {"project_id": of.project_id}),
    ],
    "DELETE /api/v1/holds/{hold_id}": lambda of: [Asked(f"/holds/{of.hold_id}", "not_found")],
    "GET /api/v1/project/repair-rules": lambda of: [
        Asked("/project/repair-rules", "unknown_parameter", {"project_id": of.project_id})
    ],
    "PUT /api/v1/project/repair-rules": lambda of: [
        Asked(
            "/project/repair-rules",
            "its own",
            body={"rules": [], "project_id": of.project_id},
        )
    ],
    "POST /api/v1/project/repair-rules/{name}/arm": lambda of: [
        Asked("/project/repair-rules/of-next-door/arm", "not_found")
    ],
    # Later, because afterwards the caller has one.
    "POST /api/v1/holds": lambda of: [
        Asked(
            "/holds",
            "its own",
            body={"all": True, "reason": "x", "project_id": of.project_id, "id": of.hold_id},
        )
    ],
    # Later, because afterwards the caller has a source.
    "POST /api/v1/sources": lambda of: [
        Asked(
            "/sources",
            "its own",
            body=new_source(project_id=of.project_id, id=of.source_id, source_id=of.source_id),
        )
    ],
    "GET /api/v1/alert-destinations": lambda of: [
        Asked("/alert-destinations", "nothing"),
        Asked("/alert-destinations", "unknown_parameter", {"project_id": of.project_id}),
    ],
    "PATCH /api/v1/alert-destinations/{destination_id}": lambda of: [
        Asked(
            f"/alert-destinations/{of.destination_id}",
            "not_found",
            body={"label": "mine now", "project_id": of.project_id, "id": of.destination_id},
        )
    ],
    "DELETE /api/v1/alert-destinations/{destination_id}": lambda of: [
        Asked(f"/alert-destinations/{of.destination_id}", "not_found")
    ],
    "POST /api/v1/alert-destinations/{destination_id}/test": lambda of: [
        Asked(f"/alert-destinations/{of.destination_id}/test", "not_found")
    ],
    # Later, because afterwards the caller has a destination.
    "POST /api/v1/alert-destinations": lambda of: [
        Asked(
            "/alert-destinations",
            "its own",
            body={
                "kind": "slack",
                "url": "https://hooks.example/T0/B0",
                "project_id": of.project_id,
                "id": of.destination_id,
            },
        )
    ],
    "GET /api/v1/views": lambda of: [
        Asked("/views", "nothing"),
        Asked("/views", "unknown_parameter", {"project_id": of.project_id}),
    ],
    "DELETE /api/v1/views/{view_id}": lambda of: [Asked(f"/views/{of.view_id}", "not_found")],
    # Later, because afterwards the caller has a view.
    "POST /api/v1/views": lambda of: [
        Asked("/views", "its own", body={"name": "mine", "project_id": of.project_id})
    ],
    "GET /api/v1/project": lambda of: [
        Asked("/project", "unknown_parameter", {"project_id": of.project_id})
    ],
    "PATCH /api/v1/project": lambda of: [
        Asked(
            "/project",
            "unknown_parameter",
            {"project_id": of.project_id},
            {"project_id": of.project_id, "late_result": "note"},
        ),
        Asked("/project", "its own", body={"project_id": of.project_id, "late_result": "note"}),
    ],
    "POST /api/v1/project/test-repair": lambda of: [
        Asked("/project/test-repair", "unknown_parameter", {"project_id": of.project_id}),
    ],
    "GET /api/v1/audit": lambda of: [
        Asked("/audit", "nothing", {"actor": of.event_id}),
        Asked("/audit", "refused", {"cursor": of.entry_hash}),
        Asked(
            "/audit", "unknown_parameter", {"project_id": of.project_id, "project": of.project_id}
        ),
    ],
    # Last, because afterwards the caller has an event with this id too.
    "POST /api/v1/receipt": lambda of: [
        Asked(
            "/receipt",
            "its own",
            body=receipt(
                provider_event_id=of.provider_event_id,
                internal_reference=of.internal_reference,
                event_id=of.event_id,
                project_id=of.project_id,
            ),
        )
    ],
}
