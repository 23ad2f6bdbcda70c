"""The steps of a new project as its checklist shows them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from operations.onboarding.checklist import Checklist, Step


@dataclass(frozen=True, slots=True)
class StepText:
    """`title` says what to do. `done` says what happened, in place of `text`."""

    title: str
    text: str
    done: str


@dataclass(frozen=True, slots=True)
class ShownStep:
    """One step, and whether it is the first that is not done."""

    name: Step
    words: StepText
    is_done: bool
    is_next: bool


_TEXTS: Mapping[Step, StepText] = {
    Step.KEY: StepText(
        "Create an API key",
        "Your app names itself by a key. The settings below go into its environment.",
        "The project has a key that sends receipts and results.",
    ),
    Step.RECEIPT: StepText(
        "Send a receipt",
        "Your app sends it after it has verified a payment event and before it applies the effect.",
        "A receipt was accepted.",
    ),
    Step.RESULT: StepText(
        "Report the result",
        "Your app sends it after the effect was applied. Success in time ends the receipt.",
        "A result was accepted.",
    ),
    Step.TIMEOUT: StepText(
        "Let a deadline pass",
        "This receipt has a short deadline. Send no result, and an incident opens.",
        "A deadline passed without a result, and an incident opened.",
    ),
    Step.ALERT: StepText(
        "See the alert arrive",
        "Each incident alerts the project's destinations. A failed result opens one at once.",
        "An alert about an incident was sent.",
    ),
    Step.REPAIR: StepText(
        "Have your repair endpoint called",
        "Add the endpoint to your app and save its repair URL. Then open the incident and press"
        " Reprocess.",
        "The repair endpoint accepted a call.",
    ),
    Step.RESOLVED: StepText(
        "Resolve the incident by a result",
        "The incident ends when your app reports success. The endpoint above does so; this is the"
        " same report by hand.",
        "A result resolved an incident.",
    ),
}


def shown_steps(checklist: Checklist) -> list[ShownStep]:
    """The steps in their order."""
    left = [step for step in Step if step not in checklist.done]
    return [
        ShownStep(step, _TEXTS[step], step in checklist.done, left[:1] == [step]) for step in Step
    ]
