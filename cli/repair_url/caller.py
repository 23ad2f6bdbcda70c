"""Builds the caller of test calls from the settings, for the API process and the command line."""

from typing import TYPE_CHECKING

from activities.callback.transport import OutgoingRequest, exchange
from domain.retries import ExchangeOutcome
from egress.transport import EXCHANGE_SECONDS
from operations.repair_url.trial import CallRepairUrl, TrialRequest

if TYPE_CHECKING:
    from config.settings import Settings


def repair_url_caller(settings: "Settings") -> CallRepairUrl:
    """The caller with the addresses and the time limit of the worker's own calls."""
    timeout_seconds = min(settings.callback_timeout_seconds, EXCHANGE_SECONDS)

    async def call(request: TrialRequest) -> ExchangeOutcome:
        return await exchange(
            OutgoingRequest(request.url, request.headers, request.body, request.livemode),
            allow=settings.egress_allow,
            allow_test=settings.egress_allow_test,
            timeout_seconds=timeout_seconds,
        )

    return call
