"""Changes of the answers of passkeys, and a proof by one. Used by the tests of refused passkeys."""

import json
from collections.abc import Callable
from typing import Any

import httpx

from domain.projects import CreatedProject
from tests.console.passkeys import Holder
from tests.console.sign_in.test_step_up import send
from tests.support.passkeys import to_bytes, to_text

Change = Callable[[dict[str, Any]], object]  # of JSON


def put(path: str, value: object) -> Change:
    """Set the value at a path of names."""

    def change(answer: dict[str, Any]) -> None:
        *before, last = path.split("/")
        for name in before:
            answer = answer[name]
        answer[last] = value

    return change


def take(path: str) -> Change:
    def change(answer: dict[str, Any]) -> None:
        *before, last = path.split("/")
        for name in before:
            answer = answer[name]
        del answer[last]

    return change


def client(**fields: object) -> Change:
    """Change the client data, without signing it again."""

    def change(answer: dict[str, Any]) -> None:
        known = json.loads(to_bytes(answer["response"]["clientDataJSON"]))
        changed = json.dumps({**known, **fields}).encode()
        answer["response"]["clientDataJSON"] = to_text(changed)

    return change


async def proof(
    holder: Holder, project: CreatedProject, answer: str | None = None
) -> httpx.Response:
    """Give a proof by passkey, or this answer, for a new API key."""
    path = f"/projects/{project.project.id}/keys"
    asked = await send(holder.visitor, path, label="mine")
    carried = asked.text.partition('name="carried" value="')[2].partition('"')[0]
    if answer is None:
        options = await holder.options("/account/proof/options", page="/account")
        answer = holder.device.use(options)
    return await holder.send(path, "/account", carried=carried, passkey=answer)
