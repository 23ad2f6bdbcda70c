"""`makegood receipt`: sends a receipt over HTTP; lists, shows, expires and restarts stored ones."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.http_sender import read_json_file
from cli.commands.http_sender import send as post
from cli.local_operations import cli_actor, find_project_id, operate
from cli.options import (
    CursorOption,
    EffectFilter,
    EventSortOption,
    JsonFlag,
    KeyOption,
    LimitOption,
    ProjectOption,
    ProviderFilter,
    SearchOption,
    SentAmount,
    SentCurrency,
    SentCustomer,
    SentEffect,
    SentPayload,
    SentProvider,
    SentType,
    TypeFilter,
    UrlOption,
    one_of,
)
from cli.output import CommandFailed, ExitCode, format_value, print_json, print_record, print_rows
from domain.receipts import Provider, ReceiptState
from domain.values.timestamps import to_iso
from domain.wording.states import repair_cause, state_label

if TYPE_CHECKING:
    from operations.composition import Operations
    from operations.responses.events import TimelineEntry
    from operations.responses.incidents import Repair
    from store.db.paging import Page
    from store.receipts.queries import EventRow

app = typer.Typer(help="Receipts: payment events that an app accepted.", no_args_is_help=True)
COLUMNS = (
    "event_id",
    "state",
    "event_type",
    "effect_type",
    "internal_reference",
    "accepted_at",
    "deadline_at",
)
NOT_IN_RECORD = ("timeline", "repairs")
ENTRIES_SHOWN = 100  # the limit in `store.receipts.timeline`
EventArgument = Annotated[str, typer.Argument(metavar="EVENT_ID", help="The event's id, evt_…")]


@app.command("send")
def send(
    api_key: KeyOption,
    provider_event_id: Annotated[
        str, typer.Option("--event-id", help="The provider's own id of the event.")
    ],
    reference: Annotated[
        str, typer.Option(help="The app's own id of the thing affected, such as an order.")
    ],
    event_type: SentType,
    effect_type: SentEffect,
    provider: SentProvider = Provider.STRIPE.value,
    occurred_at: Annotated[
        str | None, typer.Option(help="ISO 8601 with zone. Default: now.")
    ] = None,
    shop_domain: Annotated[
        str | None, typer.Option(help="Shopify only: the shop's domain.")
    ] = None,
    timeout_minutes: Annotated[
        float | None, typer.Option(help="Time in which the result must arrive.")
    ] = None,
    payload: SentPayload = None,
    amount: SentAmount = None,
    currency: SentCurrency = None,
    customer_reference: SentCustomer = None,
    idempotency_key: Annotated[str | None, typer.Option(help="Default: a new one.")] = None,
    url: UrlOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Send a receipt over HTTP, as an app does after it accepted an event."""
    fields = {
        "provider": provider,
        "provider_event_id": provider_event_id,
        "event_type": event_type,
        "effect_type": effect_type,
        "internal_reference": reference,
        "occurred_at": occurred_at or to_iso(datetime.now(UTC)),
        "shopify_shop_domain": shop_domain,
        "timeout_minutes": _integer_if_whole(timeout_minutes),
        "payload": None if payload is None else read_json_file(payload),
        "amount": amount,
        "currency": currency,
        "customer_reference": customer_reference,
    }
    post(
        "/api/v1/receipt",
        fields,
        url=url,
        api_key=api_key,
        idempotency_key=idempotency_key,
        as_json=as_json,
    )


@app.command("list")
def list_some(
    project: ProjectOption = None,
    state: Annotated[
        list[ReceiptState] | None,
        typer.Option(
            metavar="STATE", help=f"Only in this state; can be repeated. {one_of(ReceiptState)}"
        ),
    ] = None,
    provider: ProviderFilter = None,
    event_type: TypeFilter = None,
    effect_type: EffectFilter = None,
    reference: Annotated[
        str | None, typer.Option(help="Only with this internal reference.")
    ] = None,
    q: SearchOption = None,
    sort: EventSortOption = None,
    limit: LimitOption = 20,
    cursor: CursorOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List receipts, newest first without --sort."""
    from operations.names import check_known
    from operations.responses.events import EventList
    from store.receipts.queries import ListFilters

    async def act(operations: "Operations") -> "Page[EventRow]":
        project_id = await find_project_id(operations, project)
        projects = await operations.projects.list_projects(
            None if project_id is None else [project_id]
        )
        check_known(projects, provider=provider, event_type=event_type, effect_type=effect_type)
        filters = ListFilters(
            project_id=project_id,
            states=tuple(state or ()),
            provider=provider,
            event_type=event_type,
            effect_type=effect_type,
            internal_reference=reference,
            q=q,
        )
        return await operations.events.list_events(filters, limit, cursor, sort=sort)

    answer = EventList.of(operate(act)).to_json()
    rows = [
        {**row, "state": state_label(row["state"], (row["incident"] or {}).get("resolution"))}
        for row in answer["data"]
    ]
    print_rows(answer, rows, COLUMNS, as_json=as_json)


@app.command("show")
def show(event_id: EventArgument, as_json: JsonFlag = False) -> None:
    """Print one receipt with its incident, newest repairs and newest timeline entries."""
    from operations.responses.events import FullEvent

    event = FullEvent.of(operate(lambda operations: operations.events.read_event(None, event_id)))
    if as_json:
        return print_json(event.to_json())
    print_record(
        {name: value for name, value in event.to_json().items() if name not in NOT_IN_RECORD},
        as_json=False,
    )
    _print_repairs(event.repairs)
    typer.echo("\n" + typer.style("TIMELINE", bold=True))
    if len(event.timeline) == ENTRIES_SHOWN:
        typer.echo(f"The newest {ENTRIES_SHOWN}. All of them: makegood receipt timeline {event_id}")
    _print_entries(event.timeline)


@app.command("timeline")
def timeline(
    event_id: EventArgument,
    limit: LimitOption = 20,
    cursor: CursorOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List the timeline of one receipt, newest first, page by page."""
    from operations.responses.events import TimelinePage

    page = TimelinePage.of(
        operate(lambda operations: operations.events.read_timeline(None, event_id, limit, cursor))
    )
    if as_json:
        return print_json(page.to_json())
    _print_entries(page.data)
    if page.next_cursor:
        typer.echo(f"Older entries: --cursor {page.next_cursor}")


@app.command("expire")
def expire(event_id: EventArgument, as_json: JsonFlag = False) -> None:
    """Expire the deadline of a test project's receipt now."""
    _act(
        lambda operations: operations.events.expire(None, event_id, actor=cli_actor()),
        as_json=as_json,
    )


def _print_repairs(repairs: "list[Repair]") -> None:
    """Print each repair with its attempts, oldest first. Nothing if there is none."""
    if not repairs:
        return
    typer.echo("\n" + typer.style("REPAIRS", bold=True))
    for repair in repairs:
        fields = repair.to_json()
        attempts = fields.pop("attempts")
        at, replay_id, state = (fields.pop(name) for name in ("requested_at", "replay_id", "state"))
        if fields["cause"] is not None:
            fields["cause"] = repair_cause(fields["cause"])
        typer.echo(f"{at}  {replay_id}  {state_label(state):<19}  {format_value(fields)}")
        for attempt in attempts:
            at, number = attempt.pop("at"), attempt.pop("number")
            typer.echo(f"{at}  attempt {number:<3}  {format_value(attempt)}")


def _print_entries(entries: "list[TimelineEntry]") -> None:
    for entry in entries:
        fields = entry.to_json()
        at, kind = format_value(fields.pop("at")), format_value(fields.pop("kind"))
        typer.echo(f"{at}  {kind:<22}  {format_value(fields)}".rstrip())


@app.command("restart")
def restart(
    event_id: Annotated[
        str | None, typer.Argument(metavar="EVENT_ID", help="The event's id, evt_…")
    ] = None,
    stuck: Annotated[
        bool, typer.Option("--stuck", help="All receipts whose workflow run is stuck.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Terminate a receipt's workflow run and start a new one from the stored state. Needs a running
    worker.
    """
    if (event_id is None) is not stuck:
        raise CommandFailed("give one EVENT_ID, or --stuck for all", ExitCode.USAGE)
    if event_id is not None:
        chosen = event_id
        return _act(
            lambda operations: operations.runs.restart(None, chosen, actor=cli_actor()),
            as_json=as_json,
        )
    restarted = operate(_restart_stuck)
    if as_json:
        return print_json({"restarted": len(restarted), "event_ids": restarted})
    typer.echo(
        f"{len(restarted)} workflows will be restarted; `makegood doctor` reports when none is"
        " stuck"
    )


def _act(action: "Callable[[Operations], Awaitable[EventRow]]", *, as_json: bool) -> None:
    """Run the action and print the event that it returns."""
    from operations.responses.events import Event

    print_record(Event.of(operate(action)).to_json(), as_json=as_json)


async def _restart_stuck(operations: "Operations") -> list[str]:
    """Request a restart of every stuck run; returns the event ids. Prints progress to stderr."""
    total, restarted, after = await operations.runs.count_stuck(), list[str](), None
    while batch := await operations.runs.restart_stuck(after=after, actor=cli_actor()):
        restarted += batch
        after = batch[-1]
        typer.echo(f"{len(restarted)} of {max(total, len(restarted))}", err=True)
    return restarted


def _integer_if_whole(number: float | None) -> float | int | None:
    """5.0 becomes 5: live projects accept only integers, and Typer parses `5` as a float."""
    return int(number) if number is not None and number.is_integer() else number
