"""Secrets that are planted wherever one could come in, and where they are looked for, in every
spelling that one could take.
"""

import base64
import json
import re
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
        """Register a secret that Makegood made as a canary."""
        assert what not in self.planted
        assert len(secret) >= 16, what
        self.planted[what] = secret
        return secret

    def collect(self, answer: httpx.Response) -> httpx.Response:
        """Keep an answer, its headers too, to be searched."""
        self.answers.append(f"{answer.headers!r}\n{answer.text}")
        return answer

    def found_in(self, contents: Mapping[str, bytes]) -> set[tuple[str, str]]:
        """(secret, name of the content) for each that was found."""
        spelled = {what: spellings(secret) for what, secret in self.planted.items()}
        return {
            (what, name)
            for name, content in contents.items()
            for what, texts in spelled.items()
            if any(text in content for text in texts)
        }


def spellings(secret: str) -> set[bytes]:
    """The secret as it is, in hex, URL-encoded, and in base64 at each of the three offsets where
    one may begin.
    """
    plain = secret.encode()
    # Without the letters that depend on what is before and behind it.
    shifted = {base64.b64encode(bytes(skip) + plain)[4:-4] for skip in range(3)}
    return {plain, plain.hex().encode(), quote(secret, safe="").encode(), *shifted}


def files_below(directory: Path) -> dict[str, bytes]:
    """Every file's content by its path: databases, write-ahead logs, and whatever else is there."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def submitted(client: httpx.Client, page: str, action: str, **fields: Any) -> httpx.Response:
    """The answer to the form of a page, its hidden fields filled in as a browser would."""
    html = client.get(page).text
    form = re.search(FORM.format(action=re.escape(action)), html, re.DOTALL)
    assert form is not None, html
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form[0]))
    return client.post(action, data={**hidden, **fields})


def shown_secrets(page: str) -> list[str]:
    """What a page shows once, in its order."""
    return re.findall(r"<code data-secret=\"[^\"]*\">([^<]*)</code>", page)


@contextmanager
def indiscreet_provider() -> Iterator[tuple[str, list[str]]]:
    """The address of an identity provider that refuses every sign-in and repeats what it was sent,
    and what that was.
    """
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            endpoints = {
                name: f"{issuer}/{name}"
                for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")
            }
            self._answer(200, {"issuer": issuer, **endpoints})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            requests.append(f"{self.headers['authorization']} {body}")
            self._answer(401, {"error": "invalid_client", "error_description": requests[-1]})

        def _answer(self, status: int, body: dict[str, str]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing, so that the test's output has no lines of this server."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield issuer, requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
