"""OpenID Connect client: authorization code flow with PKCE, nonce and state, for the provider of
the settings.

Requests go through the given transport, which checks their destination. Redirects are not followed.
A response counts only if the ID token's signature, issuer, audience, times and nonce are correct.
Knows neither users nor cookies: `api.console.pages.oidc` does.

Authlib's own httpx client is not used: authlib 1.9 deprecates it on httpx 0.28, and warnings are
errors.
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
# No symmetric algorithms: only the provider's own keys may sign.
ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
)
ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
AUTH_METHODS = ("client_secret_basic", "client_secret_post")
LONGEST_SUBJECT = 255
# The provider is unreachable, or its response is not JSON, too deeply nested, incomplete, of wrong
# types or wrongly signed.
RESPONSE_ERRORS = (
    httpx.HTTPError,
    httpx.InvalidURL,
    JoseError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    RecursionError,
)

# A JSON object from the provider, with values of any JSON type.
Json = Mapping[str, Any]


class OidcProviderFailed(Exception):
    """The identity provider was unreachable, or its response is not trustworthy.

    The message is for the log.
    """


@dataclass(frozen=True, slots=True)
class OidcClient:
    """Makegood's registration with the identity provider.

    `client_secret` is None for a public client (PKCE only).
    """

    issuer: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """The secrets of one authorization request.

    The response must match them. The browser keeps them encrypted.
    """

    state: str
    nonce: str
    code_verifier: str


@dataclass(frozen=True, slots=True)
class VerifiedIdentity:
    """A verified identity.

    `email` is None unless it is verified. `authenticated_at` is in Unix seconds.
    """

    subject: str
    email: str | None
    authenticated_at: float | None


class OidcProvider:
    """The identity provider. Created once per process.

    Its metadata is cached for 5 minutes.
    """

    def __init__(
        self, client: OidcClient, *, public_url: str, transport: httpx.AsyncBaseTransport
    ) -> None:
        self.url = client.issuer
        self._client = client
        self._redirect_uri = public_url + CALLBACK_PATH
        self._transport = transport
        self._known: Json = {}
        self._known_until: datetime | None = None

    @property
    def host(self) -> str:
        """The name shown to users."""
        return httpx.URL(self.url).host

    async def begin(
        self, *, now: datetime, force_login: bool = False
    ) -> tuple[str, AuthorizationRequest]:
        """Start an authorization. `force_login` makes the provider authenticate the user again.

        Returns the address to send the browser to, and the secrets that the response must match.

        Raises: OidcProviderFailed.
        """
        metadata = await self._metadata(now)
        request = AuthorizationRequest(*(secrets.token_urlsafe(48) for _ in range(3)))
        login = {"prompt": "login", "max_age": "0"} if force_login else {}
        url = prepare_grant_uri(
            metadata["authorization_endpoint"],
            self._client.client_id,
            "code",
            redirect_uri=self._redirect_uri,
            scope=SCOPE,
            state=request.state,
            nonce=request.nonce,
            code_challenge=create_s256_code_challenge(request.code_verifier),
            code_challenge_method="S256",
            **login,
        )
        return url, request

    async def finish(
        self, response: Mapping[str, str], expected: AuthorizationRequest, *, now: datetime
    ) -> VerifiedIdentity:
        """Verify the provider's response, which is the query of the callback address.

        Raises: OidcProviderFailed.
        """
        if not compare_digest(response.get("state", "").encode(), expected.state.encode()):
            raise OidcProviderFailed("the state of the response is not the one that was sent")
        if response.get("iss", self.url) != self.url:
            raise OidcProviderFailed("the response is from another issuer")
        if "code" not in response:
            raise OidcProviderFailed("the response has no code")
        metadata = await self._metadata(now)
        try:
            async with httpx.AsyncClient(transport=self._transport, trust_env=False) as client:
                token = await self._exchange_code(client, metadata, response["code"], expected)
                keys = KeySet.import_key_set(
                    (await client.get(metadata["jwks_uri"])).raise_for_status().json()
                )
            return self._verify_id_token(token, keys, expected, now)
        except RESPONSE_ERRORS as error:
            raise OidcProviderFailed(f"{type(error).__name__}: {error}") from error

    async def _exchange_code(
        self, client: httpx.AsyncClient, metadata: Json, code: str, expected: AuthorizationRequest
    ) -> Json:
        """Exchange the code for tokens.

        The client authenticates by HTTP Basic if the provider supports it.
        """
        supported = metadata.get("token_endpoint_auth_methods_supported", AUTH_METHODS)
        method = next((one for one in AUTH_METHODS if one in supported), AUTH_METHODS[0])
        if self._client.client_secret is None:
            method = "none"
        grant = {"grant_type": "authorization_code", "redirect_uri": self._redirect_uri}
        body = urlencode({**grant, "code": code, "code_verifier": expected.code_verifier})
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }
        # HTTP Basic needs both percent-encoded (RFC 6749, 2.3.1). The library leaves that to its
        # caller.
        is_basic = method == "client_secret_basic"
        credentials = [
            quote(part, safe="") if is_basic else part
            for part in (self._client.client_id, self._client.client_secret or "")
        ]
        auth = ClientAuth(*credentials, method)
        url, headers, body = auth.prepare("POST", metadata["token_endpoint"], headers, body)
        response = await client.post(url, content=body, headers=headers)
        token: Json = response.raise_for_status().json()
        return token

    def _verify_id_token(
        self, token: Json, keys: KeySet, expected: AuthorizationRequest, now: datetime
    ) -> VerifiedIdentity:
        signed = jwt.decode(token["id_token"], keys, algorithms=list(ALGORITHMS))
        required = {"iss": self.url, "aud": self._client.client_id}
        claims = CodeIDToken(
            signed.claims,
            signed.header,
            options={name: {"essential": True, "value": value} for name, value in required.items()},
            params={
                "nonce": expected.nonce,
                "client_id": self._client.client_id,
                "access_token": token.get("access_token"),
            },
        )
        claims.validate(now=int(now.timestamp()), leeway=LEEWAY_SECONDS)
        email = _text(claims["email"]) if claims.get("email_verified") is True else None
        at = claims.get("auth_time")
        return VerifiedIdentity(
            _text(claims["sub"]), email, at if isinstance(at, int | float) else None
        )

    async def _metadata(self, now: datetime) -> Json:
        if self._known_until is None or now >= self._known_until:
            self._known, self._known_until = await self._discover(), now + METADATA_LIFETIME
        return self._known

    async def _discover(self) -> Json:
        try:
            async with httpx.AsyncClient(transport=self._transport, trust_env=False) as client:
                response = await client.get(
                    f"{self.url.rstrip('/')}/.well-known/openid-configuration"
                )
            metadata: Json = response.raise_for_status().json()
            if metadata["issuer"] != self.url:
                raise OidcProviderFailed("the provider's issuer is not MAKEGOOD_OIDC_ISSUER")
            # No downgrade from https to http: the code and the client secret could be read on the
            # way.
            scheme = httpx.URL(self.url).scheme
            if any(httpx.URL(metadata[name]).scheme not in (scheme, "https") for name in ENDPOINTS):
                raise OidcProviderFailed("an endpoint of the provider is not HTTPS")
        except RESPONSE_ERRORS as error:
            raise OidcProviderFailed(f"{type(error).__name__}: {error}") from error
        return metadata


def _text(claim: object) -> str:
    """A claim that identifies a user, as text that can be stored. Raises: ValueError."""
    if not isinstance(claim, str) or not 0 < len(claim) <= LONGEST_SUBJECT or "\0" in claim:
        raise ValueError("a claim that identifies a user is not text that can be stored")
    claim.encode()  # raises for a lone surrogate
    return claim
