"""Speaks OpenID Connect with the one identity provider that the settings name: authorization code with PKCE, nonce and state.

Each request goes through the transport that is handed in, which judges where it leads; no redirect is followed. An answer
counts only when the ID token's signature, issuer, audience, times and nonce are right. Knows no user and no cookie; `oidc` does.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hmac import compare_digest
from typing import Any
from urllib.parse import quote, urlencode

import httpx
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

CALLBACK_PATH = "/login/oidc/callback"
SCOPE = "openid email"
LEEWAY_SECONDS = 60
METADATA_LIFETIME = timedelta(minutes=5)
# A secret shared with the provider signs nothing: only its own keys do.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
AUTH_METHODS = ("client_secret_basic", "client_secret_post")
LONGEST_SUBJECT = 255
# Not reached, or an answer that is no JSON or nested without end, lacks something, or has something of another type or signature.
UNUSABLE = (httpx.HTTPError, httpx.InvalidURL, JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError)

# A JSON object of the provider's, with values of any JSON type.
Json = Mapping[str, Any]


class IssuerFailed(Exception):
    """The identity provider could not be reached, or what it answered cannot be trusted; the message is for the log."""


@dataclass(frozen=True, slots=True)
class OidcClient:
    """This installation as the provider knows it. `client_secret` None is a public client, which PKCE alone protects."""

    issuer: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """What an answer is compared with. All of it is secret until then, and the browser keeps it sealed."""

    state: str
    nonce: str
    code_verifier: str


@dataclass(frozen=True, slots=True)
class VerifiedIdentity:
    """Whom the provider vouches for. `email` is None unless it is verified; `authenticated_at` is in seconds since 1970."""

    subject: str
    email: str | None
    authenticated_at: float | None


class OidcProvider:
    """The provider; made once per process. What it says of itself is asked for again after 5 minutes."""

    def __init__(self, client: OidcClient, *, public_url: str, transport: httpx.AsyncBaseTransport) -> None:
        self.url = client.issuer
        self._client = client
        self._redirect_uri = public_url + CALLBACK_PATH
        self._transport = transport
        self._known: Json = {}
        self._known_until: datetime | None = None

    @property
    def host(self) -> str:
        """What people call it."""
        return httpx.URL(self.url).host

    async def begin(self, *, now: datetime, anew: bool = False) -> tuple[str, AuthorizationRequest]:
        """Where to send the browser, and what to compare its answer with. `anew`: the person must prove himself there again.

        Raises: IssuerFailed.
        """
        metadata = await self._metadata(now)
        asked = AuthorizationRequest(*(secrets.token_urlsafe(48) for _ in range(3)))
        again = {"prompt": "login", "max_age": "0"} if anew else {}
        url = prepare_grant_uri(
            metadata["authorization_endpoint"],
            self._client.client_id,
            "code",
            redirect_uri=self._redirect_uri,
            scope=SCOPE,
            state=asked.state,
            nonce=asked.nonce,
            code_challenge=create_s256_code_challenge(asked.code_verifier),
            code_challenge_method="S256",
            **again,
        )
        return url, asked

    async def finish(self, answer: Mapping[str, str], asked: AuthorizationRequest, *, now: datetime) -> VerifiedIdentity:
        """Whom the provider vouches for in its answer, the query of the address that it sent the browser back to.

        Raises: IssuerFailed.
        """
        if not compare_digest(answer.get("state", "").encode(), asked.state.encode()):
            raise IssuerFailed("the answer has not the state that was sent")
        if answer.get("iss", self.url) != self.url:
            raise IssuerFailed("the answer is of another issuer")
        if "code" not in answer:
            raise IssuerFailed("the answer has no code")
        metadata = await self._metadata(now)
        try:
            async with httpx.AsyncClient(transport=self._transport, trust_env=False) as client:
                token = await self._redeem(client, metadata, answer["code"], asked)
                keys = KeySet.import_key_set((await client.get(metadata["jwks_uri"])).raise_for_status().json())
            return self._vouched(token, keys, asked, now)
        except UNUSABLE as error:
            # Whatever a provider answers, or a stranger in its name: nobody is vouched for.
            raise IssuerFailed(f"{type(error).__name__}: {error}") from error

    async def _redeem(self, client: httpx.AsyncClient, metadata: Json, code: str, asked: AuthorizationRequest) -> Json:
        """The tokens for the code. The secret goes as the provider takes it: by HTTP's own means if it takes that."""
        supported = metadata.get("token_endpoint_auth_methods_supported", AUTH_METHODS)
        method = next((one for one in AUTH_METHODS if one in supported), AUTH_METHODS[0])
        if self._client.client_secret is None:
            method = "none"
        grant = {"grant_type": "authorization_code", "redirect_uri": self._redirect_uri}
        body = urlencode({**grant, "code": code, "code_verifier": asked.code_verifier})
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        # HTTP's own means wants both percent-encoded (RFC 6749, 2.3.1), which the library leaves to its caller.
        is_basic = method == "client_secret_basic"
        named = [
            quote(part, safe="") if is_basic else part for part in (self._client.client_id, self._client.client_secret or "")
        ]
        auth = ClientAuth(*named, method)
        url, headers, body = auth.prepare("POST", metadata["token_endpoint"], headers, body)
        answer = await client.post(url, content=body, headers=headers)
        token: Json = answer.raise_for_status().json()
        return token

    def _vouched(self, token: Json, keys: KeySet, asked: AuthorizationRequest, now: datetime) -> VerifiedIdentity:
        signed = jwt.decode(token["id_token"], keys, algorithms=list(ALGORITHMS))
        right = {"iss": self.url, "aud": self._client.client_id}
        claims = CodeIDToken(
            signed.claims,
            signed.header,
            options={name: {"essential": True, "value": value} for name, value in right.items()},
            params={"nonce": asked.nonce, "client_id": self._client.client_id, "access_token": token.get("access_token")},
        )
        claims.validate(now=int(now.timestamp()), leeway=LEEWAY_SECONDS)
        email = _text(claims["email"]) if claims.get("email_verified") is True else None
        at = claims.get("auth_time")
        return VerifiedIdentity(_text(claims["sub"]), email, at if isinstance(at, int | float) else None)

    async def _metadata(self, now: datetime) -> Json:
        if self._known_until is None or now >= self._known_until:
            self._known, self._known_until = await self._discover(), now + METADATA_LIFETIME
        return self._known

    async def _discover(self) -> Json:
        try:
            async with httpx.AsyncClient(transport=self._transport, trust_env=False) as client:
                answer = await client.get(f"{self.url.rstrip('/')}/.well-known/openid-configuration")
            metadata: Json = answer.raise_for_status().json()
            if metadata["issuer"] != self.url:
                raise IssuerFailed("the provider calls itself by another name than MAKEGOOD_OIDC_ISSUER")
            # Not from https down to http: the code and the client's secret would be read on the way.
            scheme = httpx.URL(self.url).scheme
            if any(httpx.URL(metadata[name]).scheme not in (scheme, "https") for name in ENDPOINTS):
                raise IssuerFailed("an endpoint of the provider is not https")
        except UNUSABLE as error:
            raise IssuerFailed(f"{type(error).__name__}: {error}") from error
        return metadata


def _text(claim: object) -> str:
    """A claim that names somebody, as the store can look it up. Raises: ValueError."""
    if not isinstance(claim, str) or not 0 < len(claim) <= LONGEST_SUBJECT or "\0" in claim:
        raise ValueError("a claim that names somebody is no text that can be kept")
    claim.encode()  # raises for half of a surrogate pair
    return claim
