"""An OpenID Connect provider over real HTTP: discovery, authorization code with PKCE, JWKS.

It checks requests as the specifications say, without our code. Tests can change claims and keys.
"""

import base64
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlencode

import httpx
from fastapi import FastAPI
from fastapi.responses import JSONResponse, RedirectResponse
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from starlette.requests import Request
from starlette.responses import Response

from tests.api.serving import serving

CLIENT_ID, CLIENT_SECRET = "makegood", "a secret: with & in it"
# Claims and metadata are JSON objects.
Json = dict[str, Any]


class Provider:
    """The state of the provider: signed-in person, issued codes and received requests."""

    def __init__(self) -> None:
        self.issuer = ""
        self.key = ECKey.generate_key("P-256", parameters={"kid": "1", "use": "sig"})
        self.person: Json = {
            "sub": "248289761001",
            "email": "nadia@shop.example",
            "email_verified": True,
        }
        self.change: Callable[[Json], Json] = lambda claims: claims
        self.sign: Callable[[Json], str] = lambda claims: jwt.encode(
            {"alg": "ES256", "kid": "1"}, claims, self.key
        )
        self.metadata: Json = {}
        self.answer: dict[str, str] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.requests: list[str] = []

    def app(self) -> FastAPI:
        app = FastAPI(openapi_url=None)
        app.add_api_route("/.well-known/openid-configuration", self._configuration, methods=["GET"])
        app.add_api_route("/authorize", self._authorize, methods=["GET"])
        app.add_api_route("/token", self._token, methods=["POST"])
        app.add_api_route("/jwks", self._jwks, methods=["GET"])
        return app

    async def _configuration(self, request: Request) -> Response:
        self.requests.append("configuration")
        paths = {
            "authorization_endpoint": "/authorize",
            "token_endpoint": "/token",
            "jwks_uri": "/jwks",
        }
        metadata = {
            "issuer": self.issuer,
            **{name: self.issuer + path for name, path in paths.items()},
        }
        return JSONResponse({**metadata, **self.metadata})

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        assert asked["client_id"] == CLIENT_ID
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert {"openid", "email"} <= set(asked["scope"].split())
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        answer = {"code": code, "state": asked["state"], "iss": self.issuer, **self.answer}
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(answer)}", status_code=302)

    async def _token(self, request: Request) -> Response:
        self.requests.append("token")
        sent = {
            name: values[0] for name, values in parse_qs((await request.body()).decode()).items()
        }
        asked = self.codes.pop(sent.get("code", ""), None)
        named = base64.b64encode(
            f"{CLIENT_ID}:{'a%20secret%3A%20with%20%26%20in%20it'}".encode()
        ).decode()
        if request.headers.get("authorization") != f"Basic {named}":
            return JSONResponse({"error": "invalid_client"}, status_code=401)
        if (
            asked is None
            or sent["redirect_uri"] != asked["redirect_uri"]
            or not _answers(sent["code_verifier"], asked)
        ):
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        now = int(time.time())
        times = {"iat": now, "exp": now + 300, "auth_time": now}
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "nonce": asked["nonce"],
            **times,
            **self.person,
        }
        answer = {
            "access_token": "opaque",
            "token_type": "Bearer",
            "id_token": self.sign(self.change(claims)),
        }
        return JSONResponse(answer)

    async def _jwks(self, request: Request) -> Response:
        self.requests.append("jwks")
        return JSONResponse(KeySet([self.key]).as_dict(private=False))


def _answers(verifier: str, asked: dict[str, str]) -> bool:
    challenge = base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    return challenge == asked["code_challenge"]


@asynccontextmanager
async def providing() -> AsyncIterator[tuple[Provider, httpx.AsyncClient]]:
    """A running provider, and a browser of a person there."""
    provider = Provider()
    async with serving(provider.app()) as client:
        provider.issuer = str(client.base_url).rstrip("/")
        yield provider, client
