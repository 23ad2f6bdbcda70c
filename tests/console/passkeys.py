"""A user of the console with a software authenticator. Used by the tests of passkeys."""

import html
import json
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx

from api.console.composition import ConsoleDependencies
from tests.console.conftest import EMAIL, PASSWORD, Visitor
from tests.support.passkeys import Authenticator

# Browsers allow passkeys there by http, and a test client sends its cookies.
PUBLIC_URL = "http://makegood.localhost"


@dataclass(frozen=True, slots=True)
class Holder:
    """A visitor with an authenticator. `parts` are those of the console."""

    visitor: Visitor
    parts: ConsoleDependencies
    device: Authenticator

    def later(self, **span: float) -> None:
        self.parts.database.clock.skew += timedelta(**span)

    async def creation_options(self) -> dict[str, Any]:  # JSON
        """Begin to add a passkey, and return the options of the prompt."""
        begun = await self.visitor.post("/account/passkeys/begin", page="/account")
        assert begun.headers["location"] == "/account/passkeys/new", begun.text
        page = (await self.visitor.open("/account/passkeys/new")).text
        (options,) = re.findall(r'data-options="([^"]*)"', page)
        found: dict[str, Any] = json.loads(html.unescape(options))
        return found

    async def add(self, answer: str | None = None, *, name: str = "Phone") -> httpx.Response:
        """Add the authenticator's passkey, or send this answer."""
        options = await self.creation_options()
        made = self.device.create(options) if answer is None else answer
        return await self.visitor.post(
            "/account/passkeys", page="/account/passkeys/new", name=name, passkey=made
        )

    async def leave(self) -> None:
        await self.visitor.post("/logout", page="/incidents")

    async def give_password(self) -> httpx.Response:
        return await self.visitor.post("/login", page="/login", email=EMAIL, password=PASSWORD)

    async def options(self, path: str, *, page: str = "/login") -> dict[str, Any]:  # JSON
        """The options of a prompt."""
        answer = await self.ask_options(path, page=page)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def ask_options(self, path: str, *, page: str = "/login") -> httpx.Response:
        shown = (await self.visitor.open(page)).text
        (token, *_) = re.findall(r'name="form_token" value="([^"]*)"', shown)
        return await self.visitor.client.post(path, data={"form_token": token})

    async def sign_in(self, answer: str | None = None, **fields: str) -> httpx.Response:
        """Sign in by the passkey, or send this answer."""
        if answer is None:
            answer = self.device.use(await self.options("/login/passkey/options"))
        return await self.send("/login/passkey", "/login", passkey=answer, **fields)

    async def confirm(self, answer: str | None = None) -> httpx.Response:
        """Give the passkey as the second factor, or send this answer."""
        if answer is None:
            options = await self.options("/login/code/options", page="/login/code")
            answer = self.device.use(options)
        return await self.send("/login/code", "/login/code", passkey=answer)

    async def send(self, path: str, page: str, **fields: str) -> httpx.Response:
        """Send fields with the token of the page, whatever forms it has."""
        shown = (await self.visitor.open(page)).text
        (token, *_) = re.findall(r'name="form_token" value="([^"]*)"', shown)
        return await self.visitor.client.post(path, data={"form_token": token, **fields})

    async def is_in(self) -> bool:
        return (await self.visitor.open("/incidents")).status_code == 200

    async def notice(self, path: str = "/account") -> str:
        """The text of the notice on the page."""
        page = (await self.visitor.open(path)).text
        found = re.search(r'<div class="notice (?:good|bad).*?<span>(.*?)</span>', page, re.DOTALL)
        return "" if found is None else html.unescape(found[1])


def problem_of(answer: httpx.Response) -> str:
    """The text of the problem that a page or a prompt names."""
    if answer.headers["content-type"].startswith("application/json"):
        return str(answer.json().get("problem", ""))
    found = re.search(r'<p class="field-problem" role="alert">([^<]*)</p>', answer.text)
    return "" if found is None else html.unescape(found[1])
