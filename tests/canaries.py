"""Secrets that are planted wherever one could come in, and where they are looked for, in every spelling that one could take."""

import base64
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

FORM = r'<form[^>]*action="{action}".*?</form>'


class Canaries:
    """The secrets by what they are, and every answer that was not meant to show one."""

    def __init__(self) -> None:
        self.planted: dict[str, str] = {}
        self.answers: list[str] = []

    def new(self, what: str) -> str:
        """Plant a secret of our own making, that no form or header refuses."""
        return self.plant(what, f"canary-{secrets.token_hex(16)}")

    def plant(self, what: str, secret: str) -> str:
        """Plant one that Makegood made."""
        assert what not in self.planted
        assert len(secret) >= 20, what
        self.planted[what] = secret
        return secret

    def hear(self, answer: httpx.Response) -> httpx.Response:
        """Keep an answer, its headers too, to be searched."""
        self.answers.append(f"{answer.headers!r}\n{answer.text}")
        return answer

    def found_in(self, places: Mapping[str, bytes]) -> set[tuple[str, str]]:
        """(secret, place) for each that was found."""
        spelled = {what: spellings(secret) for what, secret in self.planted.items()}
        return {
            (what, place)
            for place, content in places.items()
            for what, texts in spelled.items()
            if any(text in content for text in texts)
        }


def spellings(secret: str) -> set[bytes]:
    """The secret as it stands, in hex, URL-encoded, and in base64 at each of the three places where one may begin."""
    plain = secret.encode()
    # Without the letters that depend on what stands before and behind it.
    shifted = {base64.b64encode(bytes(skip) + plain)[4:-4] for skip in range(3)}
    return {plain, plain.hex().encode(), quote(secret, safe="").encode(), *shifted}


def files_below(directory: Path) -> dict[str, bytes]:
    """Every file's content by its path: databases, write-ahead logs, and whatever else is there."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def submitted(client: httpx.Client, page: str, action: str, **fields: Any) -> httpx.Response:
    """The answer to the form of a page, its hidden fields filled in as a browser would."""
    html = client.get(page).text
    form = re.search(FORM.format(action=re.escape(action)), html, re.DOTALL)
    assert form is not None, html
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form[0]))
    return client.post(action, data={**hidden, **fields})
