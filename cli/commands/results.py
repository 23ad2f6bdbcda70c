"""`makegood result send`: reports over HTTP, as an app would, whether an effect was applied."""

from typing import Annotated

import typer

from cli.commands.http_sender import send as post
from cli.options import JsonFlag, KeyOption, UrlOption, one_of
from cli.output import CommandFailed, ExitCode
from domain.receipts import EffectType, Provider
from domain.results import ResultStatus

app = typer.Typer(help="Results: whether the effect was applied.", no_args_is_help=True)


@app.callback()
def _results() -> None:
    """Makes Typer treat `send` as a subcommand; with a single command it would not."""


@app.command("send")
def send(
    api_key: KeyOption,
    status: Annotated[ResultStatus, typer.Option(help="Whether the effect was applied.")],
    event_id: Annotated[str | None, typer.Option(help="Makegood's id of the event, evt_…")] = None,
    provider_event_id: Annotated[
        str | None, typer.Option(help="The provider's own id of the event.")
    ] = None,
    stripe_event_id: Annotated[
        str | None, typer.Option(help="Stripe's own id of the event.")
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option(metavar="PROVIDER", help=f"Who sent the event. {one_of(Provider)}"),
    ] = None,
    effect_type: Annotated[
        str | None,
        typer.Option(
            metavar="EFFECT",
            help=f"Required when one event has several effects. {one_of(EffectType)}",
        ),
    ] = None,
    replay_id: Annotated[
        str | None, typer.Option(help="The repair that this result belongs to, rpl_…")
    ] = None,
    error_code: Annotated[
        str | None, typer.Option(help="With --status failed: the app's code for what went wrong.")
    ] = None,
    error_message: Annotated[
        str | None, typer.Option(help="With --status failed: what went wrong.")
    ] = None,
    already_applied: Annotated[
        bool,
        typer.Option(
            "--already-applied", help="With --status success: the effect was applied before."
        ),
    ] = False,
    idempotency_key: Annotated[str | None, typer.Option(help="Default: a new one.")] = None,
    url: UrlOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Send a result over HTTP."""
    if not (event_id or provider_event_id or stripe_event_id):
        raise CommandFailed(
            "identify the event: give --event-id, --provider-event-id or --stripe-event-id",
            ExitCode.USAGE,
        )
    fields = {
        "event_id": event_id,
        "provider_event_id": provider_event_id,
        "stripe_event_id": stripe_event_id,
        "provider": provider,
        "effect_type": effect_type,
        "status": status.value,
        "replay_id": replay_id,
        "error_code": error_code,
        "error_message": error_message,
        "already_applied": already_applied or None,
    }
    post(
        "/api/v1/result",
        fields,
        url=url,
        api_key=api_key,
        idempotency_key=idempotency_key,
        as_json=as_json,
    )
