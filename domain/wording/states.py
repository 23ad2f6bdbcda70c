"""One word for each state, reason, cause and resolution, in every page, mail and command. Pure.

An ended incident is "Resolved" with its way in parentheses: `Resolved (repaired)`.
"""

from collections.abc import Mapping

from domain.incidents import (
    IncidentState,
    Reason,
    RepairCause,
    RepairState,
    Resolution,
)
from domain.receipts import ReceiptState
from domain.retries import ErrorClass

STATES: Mapping[str, str] = {
    ReceiptState.EXPECTED: "Expected",
    ReceiptState.WAITING: "Waiting",
    ReceiptState.APPLIED: "Applied",
    ReceiptState.INCIDENT: "Incident",
    ReceiptState.RECOVERED: "Resolved",
    ReceiptState.CLOSED: "Resolved (manually)",
    IncidentState.OPEN: "Open",
    IncidentState.REPAIRING: "Repairing",
    IncidentState.RESOLVED: "Resolved",
    RepairState.HELD: "Held",
    RepairState.CALLING: "Calling",
    RepairState.AWAITING_RESULT: "Awaiting result",
    RepairState.SUCCEEDED: "Resolved (repaired)",
    RepairState.FAILED: "Failed",
}
RESOLVED: Mapping[str, str] = {
    Resolution.REPAIRED: "Resolved (repaired)",
    Resolution.LATE_RESULT: "Resolved (late result)",
    Resolution.ALREADY_APPLIED: "Resolved (already applied)",
    Resolution.MANUAL: "Resolved (manually)",
}
RESOLUTIONS: Mapping[str, str] = {
    Resolution.REPAIRED: "The repair worked: the app reported success.",
    Resolution.LATE_RESULT: "The app reported success without a repair.",
    Resolution.ALREADY_APPLIED: "The app found the effect applied, and applied nothing.",
    Resolution.MANUAL: "An operator resolved the incident manually.",
}
REASONS: Mapping[str, str] = {
    Reason.MISSING_RESULT: "No result before the deadline",
    Reason.MISSING_RECEIPT: "No receipt of an event at the provider",
    Reason.FAILED_RESULT: "The app reported a failure",
}
# What stands in place of an error code in one line.
SHORT_REASONS: Mapping[str, str] = {
    Reason.MISSING_RESULT: "no result",
    Reason.MISSING_RECEIPT: "no receipt",
    Reason.FAILED_RESULT: "failure reported",
}
CAUSES: Mapping[str, str] = {
    RepairCause.REJECTED: "The repair endpoint rejected the call",
    RepairCause.EXHAUSTED: "All calls to the repair endpoint failed",
    RepairCause.NO_RESULT: "Accepted, but no result before the deadline",
    RepairCause.FAILED_RESULT: "The app reported that the repair failed",
    RepairCause.REPAIR_URL_MISSING: "The project has no repair URL, or the endpoint answered 410"
    " Gone",
    RepairCause.SUPERSEDED: "The app reported success without this repair",
    RepairCause.CLOSED: "The incident was resolved manually",
    RepairCause.STOPPED: "An operator stopped the repair",
}
ERROR_CLASSES: Mapping[str, str] = {
    ErrorClass.NO_PERMITTED_ADDRESS: "The host has no address that Makegood may call",
    ErrorClass.CONNECT_FAILED: "Connection failed",
    ErrorClass.TLS_FAILED: "TLS handshake failed",
    ErrorClass.TIMEOUT: "Timed out",
    ErrorClass.CONNECTION_RESET: "Connection reset",
    ErrorClass.PROTOCOL_ERROR: "Invalid HTTP response",
    ErrorClass.UNKNOWN: "Outcome unknown: the worker stopped",
}


def humanize(name: str | None) -> str:
    """An enum value as words: `access_unlock` becomes `Access unlock`. Empty for None."""
    return (name or "").replace("_", " ").capitalize()


def state_label(state: str, resolution: str | None = None) -> str:
    """The word for the state of a receipt, an incident or a repair.

    `resolution` is that of the incident if it has ended.
    """
    if resolution is not None:
        return RESOLVED.get(resolution, f"Resolved ({humanize(resolution).lower()})")
    return STATES.get(state, humanize(state))


def reason_label(reason: str) -> str:
    """Why an incident opened, in words."""
    return REASONS.get(reason, humanize(reason))


def short_reason(reason: str) -> str:
    """Why an incident opened, for a line of a list: `No result`."""
    return SHORT_REASONS.get(reason, humanize(reason)).capitalize()


def resolution_label(resolution: str | None) -> str:
    """How an incident ended, as a sentence."""
    return RESOLUTIONS.get(resolution or "", "The incident is resolved.")


def repair_cause(
    cause: str | None,
    *,
    attempts: int = 0,
    status: int | None = None,
    error_class: str | None = None,
) -> str:
    """Why a repair failed, in words.

    `attempts` are its calls; `status` and `error_class` are the outcome of the last one.
    """
    if attempts and cause in (RepairCause.EXHAUSTED, RepairCause.REJECTED):
        last = _outcome(status, error_class)
        if cause == RepairCause.REJECTED:
            return f"The repair endpoint rejected the call ({last})" if last else CAUSES[cause]
        calls = "The only attempt failed" if attempts == 1 else f"All {attempts} attempts failed"
        return (
            f"{calls} (last: {last})"
            if last and attempts > 1
            else f"{calls}{last and f' ({last})'}"
        )
    return CAUSES.get(cause or "", humanize(cause))


def call_error(name: str | None) -> str:
    """The error of a repair call, in words."""
    return ERROR_CLASSES.get(name or "", humanize(name))


def _outcome(status: int | None, error_class: str | None) -> str:
    if status is not None:
        return f"HTTP {status}"
    return call_error(error_class)[:1].lower() + call_error(error_class)[1:] if error_class else ""
