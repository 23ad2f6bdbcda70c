"""Ids of tenants, and the table of requests that name ids of another tenant.

Used by `test_tenancy`.
"""

import base64
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass

from api.console.ui import labels

# Addresses that name nothing of a project: of the public, the own account and administrators.
WITHOUT_PROJECT = {
    *(
        "GET /",
        "GET /static/{name}",
        "GET /login",
        "GET /login/link",
        "GET /login/password",
        "GET /login/code",
    ),
    *(
        "GET /login/oidc",
        "GET /login/oidc/callback",
        "GET /account",
        "GET /account/security",
        "GET /account/totp",
    ),
    *(
        "GET /account/totp/qr.svg",
        "POST /login",
        "POST /login/link",
        "POST /login/password",
        "POST /login/code",
        "POST /logout",
    ),
    *("POST /login/code/options", "POST /login/passkey", "POST /login/passkey/options"),
    *("GET /account/passkeys/new", "POST /account/passkeys/begin", "POST /account/passkeys"),
    *("POST /account/proof/options", "POST /account/dates"),
    *(
        "POST /account/totp",
        "POST /account/totp/confirm",
        "POST /account/totp/remove",
        "POST /account/recovery-codes",
    ),
    *("POST /account/sessions/end-others", "POST /projects"),
    # Only administrators act there, on any project.
    *("POST /projects/{project_id}/suspend", "POST /projects/{project_id}/resume"),
    *("GET /instance", "GET /instance/users"),
    *("GET /mailbox", "GET /mailbox/{name}", "GET /mailbox/{name}/html"),
}


# The year 2100: later than every object.
AFTER_ALL_MS = 4_102_444_800_000


@dataclass(frozen=True, slots=True)
class TenantIds:
    """One object of each kind that a tenant has, by the ids that another tenant might use."""

    project_id: str
    event_id: str
    incident_id: str
    replay_id: str
    key_id: str
    user_id: str
    email: str
    invitation_id: str
    session_id: str
    passkey_id: str
    entry_hash: str
    internal_reference: str
    source_id: str
    destination_id: str
    view_id: str
    group_id: str
    bulk_id: str
    hold_id: str

    def cursor(self, identifier: str) -> str:
        """A list's cursor after this object: its time in milliseconds, and its id."""
        position = f"{AFTER_ALL_MS}:{identifier}"
        return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")

    def masked(self, text: str) -> str:
        """The text without these ids, and without secrets, digests and the present."""
        for name, value in asdict(self).items():
            for known in (self.cursor(value), id_cursor(value), value, labels.short_id(value)):
                text = text.replace(known, name)
        differs = r'token=[\w-]+|name="seen" value="\w+"|view_[0-9a-f]{32}|Now: <time[^>]+>[^<]+'
        return re.sub(differs, "random", text)


def id_cursor(identifier: str) -> str:
    """A list's cursor after this object, in a list that is in the order of ids."""
    return base64.urlsafe_b64encode(identifier.encode()).decode().rstrip("=")


def selected(own: TenantIds, of: TenantIds, field: str) -> dict[str, str]:
    return {"project": own.project_id, field: of.incident_id}


def unknown_ids(of: TenantIds) -> TenantIds:
    """Ids of the same form that belong to nothing."""
    values = asdict(of)
    ids = {name: f"{value[:-8]}ffffffff" for name, value in values.items()}
    return TenantIds(
        **{**ids, "email": "nobody@shop.example", "internal_reference": "order-of-nobody"}
    )


@dataclass(frozen=True, slots=True)
class Probe:
    """One request and its expected outcome."""

    path: str
    expected: str  # not found | refused | nothing | its own
    query: dict[str, str] | None = None
    body: dict[str, str] | None = None


Probes = Callable[[TenantIds, TenantIds], list[Probe]]


def path_probes(path: str, **body: str) -> Probes:
    """An id of the other tenant in the path."""
    return lambda of, own: [Probe(path.format(**asdict(of)), "not found", body=body)]


def mixed_probes(path: str, **body: str) -> Probes:
    """An id of the other tenant in the own project, and an own id in the other's project."""

    def probes(of: TenantIds, own: TenantIds) -> list[Probe]:
        theirs, ours = asdict(of), asdict(own)
        own_project, foreign_project = (
            {**theirs, "project_id": own.project_id},
            {**ours, "project_id": of.project_id},
        )
        return [
            Probe(path.format(**theirs), "not found", body=body),
            Probe(path.format(**own_project), "refused", body=body),
            Probe(path.format(**foreign_project), "not found", body=body),
        ]

    return probes


def source_probes(act: str, **body: str) -> Probes:
    """A source of the other tenant, in its project and in the own one, and an own one in its."""
    path = f"/projects/{{project_id}}/sources/{{source_id}}{act}"

    def probes(of: TenantIds, own: TenantIds) -> list[Probe]:
        theirs, ours = asdict(of), asdict(own)
        named = (
            theirs,
            {**theirs, "project_id": own.project_id},
            {**ours, "project_id": of.project_id},
        )
        return [Probe(path.format(**ids), "not found", body=body) for ids in named]

    return probes


def link_probes(path: str, subject: Callable[[TenantIds], str]) -> Probes:
    """A link of a mail with the other tenant's ids, and a signature that is not the tenant's."""
    return lambda of, own: [
        Probe(f"{path}/{of.project_id}.{subject(of)}.{'A' * 43}", "not found"),
        Probe(f"{path}/{own.project_id}.{subject(of)}.{'A' * 43}", "not found"),
    ]


UNSUBSCRIBE = link_probes("/alerts/unsubscribe", lambda of: of.destination_id)
ACKNOWLEDGE = link_probes("/alerts/acknowledge", lambda of: f"{of.incident_id}.1.4102444800")


def list_probes(path: str, identifier: Callable[[TenantIds], str]) -> Probes:
    return lambda of, own: [
        Probe(path, "nothing", {"project": of.project_id}),
        Probe(path, "nothing", {"project": of.project_id, "state": "all", "q": identifier(of)}),
        Probe(path, "nothing", {"q": identifier(of), "state": "all"}),
        Probe(path, "nothing", {"q": of.internal_reference, "state": "all"}),
        Probe(path, "nothing", {"internal_reference": of.internal_reference, "state": "all"}),
        Probe(path, "its own", {"state": "all", "cursor": of.cursor(identifier(of))}),
        Probe(path, "its own", {"state": "all", "project_id": of.project_id}),
    ]


def settings_probes(of: TenantIds, own: TenantIds) -> list[Probe]:
    fields = {
        "name": "mine",
        "timeout_minutes": "30",
        "alert_emails": "",
        "late_result": "note",
        "project_id": of.project_id,
    }
    fields |= {"repair_url": "https://asker.example/repair"}
    return [
        Probe(f"/projects/{of.project_id}", "not found", body=fields),
        Probe(f"/projects/{own.project_id}", "its own", body=fields),
    ]


TABLE: dict[str, Probes] = {
    "GET /rail": lambda of, own: [
        Probe("/rail", "its own", {"project": of.project_id, "section": "events"})
    ],
    "GET /incidents": list_probes("/incidents", lambda of: of.incident_id),
    "GET /incidents/export": lambda of, own: [
        Probe("/incidents/export", "its own", {"project": of.project_id, "state": "all"}),
        Probe("/incidents/export", "its own", {"q": of.incident_id, "state": "all"}),
        Probe("/incidents/export", "its own", {"q": of.internal_reference, "state": "all"}),
    ],
    "POST /views": lambda of, own: [
        Probe("/views", "refused", body={"name": "mine", "project": of.project_id}),
        Probe("/views", "its own", body={"name": "mine", "project": own.project_id}),
    ],
    "POST /views/{view_id}/remove": lambda of, own: [
        Probe(f"/views/{of.view_id}/remove", "refused", body={})
    ],
    "GET /incidents/{incident_id}": path_probes("/incidents/{incident_id}"),
    "GET /groups/{group_id}": path_probes("/groups/{group_id}"),
    **{
        f"POST /groups/{{group_id}}/{act}": path_probes(
            f"/groups/{{group_id}}/{act}", hours="4", reason="mine now"
        )
        for act in ("mute", "unmute", "acknowledge", "resolve")
    },
    "GET /events": list_probes("/events", lambda of: of.event_id),
    "GET /events/{event_id}": path_probes("/events/{event_id}"),
    "GET /bulk-repairs": lambda of, own: [
        Probe("/bulk-repairs", "its own", {"project": of.project_id}),
        Probe("/bulk-repairs", "its own", {"cursor": id_cursor(of.bulk_id)}),
    ],
    "GET /bulk-repairs/new": lambda of, own: [
        Probe("/bulk-repairs/new", "its own", {"project": of.project_id, "state": "open"}),
        Probe("/bulk-repairs/new", "its own", selected(own, of, "incident")),
    ],
    "POST /bulk-repairs/new": lambda of, own: [
        Probe("/bulk-repairs/new", "its own", body=selected(of, of, "incident_ids"))
    ],
    "GET /bulk-repairs/{bulk_id}": path_probes("/bulk-repairs/{bulk_id}"),
    **{
        f"POST /bulk-repairs/{{bulk_id}}/{act}": path_probes(f"/bulk-repairs/{{bulk_id}}/{act}")
        for act in ("pause", "resume", "abort")
    },
    "POST /projects/{project_id}/bulk-repairs": path_probes(
        "/projects/{project_id}/bulk-repairs", reason="mine now", state="open"
    ),
    "POST /projects/{project_id}/holds": path_probes("/projects/{project_id}/holds", reason="x"),
    "POST /projects/{project_id}/holds/{hold_id}/remove": mixed_probes(
        "/projects/{project_id}/holds/{hold_id}/remove"
    ),
    "POST /projects/{project_id}/repair-rules": path_probes(
        "/projects/{project_id}/repair-rules", rules='{"rules": []}'
    ),
    "POST /projects/{project_id}/repair-rules/{name}/arm": path_probes(
        "/projects/{project_id}/repair-rules/again/arm"
    ),
    "GET /overview": lambda of, own: [
        Probe("/overview", "its own", {"project": of.project_id, "mode": "test"})
    ],
    "GET /projects": lambda of, own: [
        Probe("/projects", "its own", {"project": of.project_id, "q": of.project_id})
    ],
    "GET /projects/{project_id}": path_probes("/projects/{project_id}"),
    "GET /projects/{project_id}/start": path_probes("/projects/{project_id}/start"),
    "GET /projects/{project_id}/sources": path_probes("/projects/{project_id}/sources"),
    "GET /projects/{project_id}/sources/new": path_probes("/projects/{project_id}/sources/new"),
    "GET /projects/{project_id}/sources/{source_id}": source_probes(""),
    "GET /alerts/unsubscribe/{token}": UNSUBSCRIBE,
    "POST /alerts/unsubscribe/{token}": UNSUBSCRIBE,
    "GET /alerts/acknowledge/{token}": ACKNOWLEDGE,
    "POST /alerts/acknowledge/{token}": ACKNOWLEDGE,
    "GET /audit": lambda of, own: [
        Probe("/audit", "not found", {"project": of.project_id}),
        Probe("/audit", "not found", {"project": of.project_id, "cursor": of.entry_hash}),
        Probe("/audit", "nothing", {"project": own.project_id, "actor": of.user_id}),
        Probe("/audit", "nothing", {"project": own.project_id, "actor": of.key_id}),
        Probe("/audit", "refused", {"project": own.project_id, "cursor": of.entry_hash}),
    ],
    "GET /join": lambda of, own: [
        Probe("/join", "refused", {"token": of.invitation_id, "project": of.project_id})
    ],
    "POST /join": lambda of, own: [
        Probe("/join", "refused", body={"token": of.invitation_id, "project_id": of.project_id})
    ],
    "POST /account/passkeys/{passkey_id}/rename": lambda of, own: [
        Probe(f"/account/passkeys/{of.passkey_id}/rename", "refused", body={"name": "mine"})
    ],
    "POST /account/passkeys/{passkey_id}/remove": lambda of, own: [
        Probe(f"/account/passkeys/{of.passkey_id}/remove", "refused", body={"user_id": of.user_id})
    ],
    "POST /account/sessions/{session_id}/end": lambda of, own: [
        Probe(f"/account/sessions/{of.session_id}/end", "refused", body={"user_id": of.user_id})
    ],
    "POST /incidents/{incident_id}/reprocess": path_probes("/incidents/{incident_id}/reprocess"),
    "POST /incidents/{incident_id}/acknowledge": path_probes(
        "/incidents/{incident_id}/acknowledge"
    ),
    "POST /incidents/{incident_id}/resolve": path_probes(
        "/incidents/{incident_id}/resolve", reason="mine now"
    ),
    "POST /incidents/{incident_id}/unacknowledge": path_probes(
        "/incidents/{incident_id}/unacknowledge"
    ),
    "POST /incidents/{incident_id}/assign": path_probes(
        "/incidents/{incident_id}/assign", assignee=""
    ),
    "POST /incidents/{incident_id}/comments": path_probes(
        "/incidents/{incident_id}/comments", text="mine now"
    ),
    "POST /incidents/{incident_id}/snooze": path_probes(
        "/incidents/{incident_id}/snooze", minutes="60"
    ),
    "POST /incidents/{incident_id}/reopen": path_probes(
        "/incidents/{incident_id}/reopen", reason="mine now"
    ),
    "POST /events/{event_id}/deadline": path_probes("/events/{event_id}/deadline", minutes="60"),
    "POST /incidents/{incident_id}/stop-repair": path_probes(
        "/incidents/{incident_id}/stop-repair"
    ),
    "GET /events/{event_id}/evidence": path_probes("/events/{event_id}/evidence"),
    "GET /events/{event_id}/repairs/{replay_id}": path_probes(
        "/events/{event_id}/repairs/{replay_id}"
    ),
    "POST /events/{event_id}/payload": path_probes("/events/{event_id}/payload"),
    "POST /events/{event_id}/expire": path_probes("/events/{event_id}/expire"),
    "POST /events/{event_id}/restart": path_probes("/events/{event_id}/restart"),
    "POST /projects/{project_id}": settings_probes,
    "POST /projects/{project_id}/deadline": path_probes(
        "/projects/{project_id}/deadline", timeout_minutes="5"
    ),
    "POST /projects/{project_id}/delete": path_probes(
        "/projects/{project_id}/delete", confirmation="shop", end_open="on"
    ),
    **{
        f"POST /projects/{{project_id}}/{act}": path_probes(f"/projects/{{project_id}}/{act}")
        for act in ("start/key", "start/hide", "start/show", "repair-url/test")
    },
    "POST /projects/{project_id}/keys": path_probes(
        "/projects/{project_id}/keys", label="mine", scopes="read"
    ),
    "POST /projects/{project_id}/keys/{key_id}/revoke": mixed_probes(
        "/projects/{project_id}/keys/{key_id}/revoke"
    ),
    "POST /projects/{project_id}/signing-secret": path_probes(
        "/projects/{project_id}/signing-secret"
    ),
    "POST /projects/{project_id}/signing-secret/finish": path_probes(
        "/projects/{project_id}/signing-secret/finish"
    ),
    "POST /projects/{project_id}/sources": path_probes(
        "/projects/{project_id}/sources", kind="stripe_webhook", name="mine", expects="a b"
    ),
    "POST /projects/{project_id}/sources/{source_id}": source_probes("", name="mine"),
    **{
        f"POST /projects/{{project_id}}/sources/{{source_id}}/{act}": mixed_probes(
            f"/projects/{{project_id}}/sources/{{source_id}}/{act}"
        )
        for act in ("check", "pause", "resume", "remove")
    },
    "POST /projects/{project_id}/destinations": path_probes(
        "/projects/{project_id}/destinations", kind="email", target="me@shop.example"
    ),
    "POST /projects/{project_id}/destinations/{destination_id}": mixed_probes(
        "/projects/{project_id}/destinations/{destination_id}",
        kind="slack",
        label="mine",
        all_events="on",
    ),
    **{
        f"POST /projects/{{project_id}}/destinations/{{destination_id}}/{act}": mixed_probes(
            f"/projects/{{project_id}}/destinations/{{destination_id}}/{act}"
        )
        for act in ("test", "disable", "enable", "remove")
    },
    "POST /projects/{project_id}/members": path_probes(
        "/projects/{project_id}/members", email="me@shop.example", role="owner"
    ),
    "POST /projects/{project_id}/members/{user_id}/role": mixed_probes(
        "/projects/{project_id}/members/{user_id}/role", role="owner"
    ),
    "POST /projects/{project_id}/members/{user_id}/remove": mixed_probes(
        "/projects/{project_id}/members/{user_id}/remove"
    ),
    "POST /projects/{project_id}/invitations/{invitation_id}/withdraw": mixed_probes(
        "/projects/{project_id}/invitations/{invitation_id}/withdraw"
    ),
    "POST /audit/export": lambda of, own: [
        Probe("/audit/export", "not found", body={"project": of.project_id}),
        Probe("/audit/export", "its own", body={"project": own.project_id, "actor": of.user_id}),
        Probe(
            "/audit/export",
            "its own",
            body={"project": own.project_id, "action": "key_revoked", "cursor": of.entry_hash},
        ),
    ],
}
