"""Every setting of Makegood, read once from the environment.

`MAKEGOOD_*` is ours, `TEMPORAL_*` names an existing cluster. A value that may hold a secret is a
`SecretStr`, and may come from a file named by its variable plus `_FILE`. An empty variable counts
as not set. Only `cli` reads this; everything below it is handed plain values. It never writes a
file and never opens a connection.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from config.fields import (
    DatabaseUrl,
    Delays,
    HeaderSecret,
    HostAndPort,
    IssuerUrl,
    ListenHost,
    LogFormat,
    LogLevel,
    MailAddress,
    Namespace,
    Network,
    Networks,
    Port,
    PublicUrl,
    Rate,
    RootSecretText,
    Seconds,
    SecondsOrNone,
    SmtpUrl,
    WebOrigin,
    one_line,
)
from config.secret_files import SecretFiles, SettingsError, read_root_secret
from domain.retries import CALLBACK_SCHEDULE_SECONDS

PREFIX = "MAKEGOOD_"
SECRET_FIELDS = (
    "secret_key",
    "secret_key_previous",
    "database_url",
    "database_direct_url",
    "smtp_url",
    "oidc_client_secret",
    "temporal_api_key",
)
PAIRS = (
    *(("oidc_issuer", "oidc_client_id"), ("temporal_tls_client_cert", "temporal_tls_client_key")),
)
SECRET_KEY_FILE_NAME, PREVIOUS_SECRET_KEY_FILE_NAME = "secret_key", "secret_key.previous"


def _aliased(*names: str) -> Any:
    """A field without a prefix in its variables' names; `Any` is what `Field` returns."""
    return Field(default=None, validation_alias=AliasChoices(*names))


class Settings(BaseSettings):
    """The settings of this process. Immutable after they are read."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        populate_by_name=True,
        frozen=True,
        hide_input_in_errors=True,
    )

    data_dir: Path = Path(".makegood")
    host: ListenHost = "127.0.0.1"
    port: Port = 8000
    temporal_port: Port = 7233
    temporal_ui_port: Port = 8233
    smtp_port: Port = 2525
    database_url: DatabaseUrl | None = None
    database_direct_url: DatabaseUrl | None = None
    smtp_url: SmtpUrl | None = None
    mail_from: MailAddress = "makegood@localhost"
    public_url: PublicUrl | None = None
    temporal_ui_url: WebOrigin | None = None
    secret_key: RootSecretText | None = None
    secret_key_previous: RootSecretText | None = None
    egress_allow: Networks = ()
    egress_allow_test: Networks = ()  # further ranges, for test projects only
    trusted_proxies: Networks = ()
    stripe_api_url: WebOrigin | None = None
    shopify_api_url: WebOrigin | None = None  # None: each source's own shop
    pagerduty_url: WebOrigin = "https://events.pagerduty.com"
    oidc_issuer: IssuerUrl | None = None
    oidc_client_id: str | None = None
    oidc_client_secret: SecretStr | None = None
    log_level: LogLevel = LogLevel.INFO
    log_format: LogFormat = LogFormat.JSON
    open_browser: bool = True  # by `makegood up` on a desktop's terminal
    rate_limit: Rate = 1_000
    rate_burst: Rate = 2_000
    outage_seconds: SecondsOrNone = 60  # 0: no outage is credited
    callback_schedule_seconds: Delays = CALLBACK_SCHEDULE_SECONDS
    callback_timeout_seconds: int = Field(default=30, ge=1, le=30)
    callback_jitter: float = Field(default=0.1, ge=0, lt=1)
    callbacks_per_project: int = Field(default=10, ge=1, le=80)
    callbacks_per_host: int = Field(default=20, ge=1, le=80)
    dispatch_rate: Rate = 25
    reconcile_seconds: Seconds = 5
    metrics_open: bool = False

    temporal_address: HostAndPort | None = Field(default=None, validation_alias="TEMPORAL_ADDRESS")
    temporal_namespace: Namespace = Field(default="default", validation_alias="TEMPORAL_NAMESPACE")
    temporal_api_key: HeaderSecret | None = Field(default=None, validation_alias="TEMPORAL_API_KEY")
    temporal_tls: bool | None = Field(default=None, validation_alias="TEMPORAL_TLS")
    temporal_tls_server_name: str | None = _aliased("TEMPORAL_TLS_SERVER_NAME")
    # The second name of each is the one that Temporal's own tools read.
    temporal_tls_ca_cert: Path | None = _aliased(
        "TEMPORAL_TLS_CA_CERT", "TEMPORAL_TLS_SERVER_CA_CERT_PATH"
    )
    temporal_tls_client_cert: Path | None = _aliased(
        "TEMPORAL_TLS_CLIENT_CERT", "TEMPORAL_TLS_CLIENT_CERT_PATH"
    )
    temporal_tls_client_key: Path | None = _aliased(
        "TEMPORAL_TLS_CLIENT_KEY", "TEMPORAL_TLS_CLIENT_KEY_PATH"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments, then the environment, then files named by `*_FILE`. No dotenv file."""
        variables = {name: environment_name(name) for name in SECRET_FIELDS}
        return init_settings, env_settings, SecretFiles(settings_cls, variables)

    @property
    def database_url_or_default(self) -> str:
        """The store: `DATABASE_URL`, else a file in the data directory. It may hold a password."""
        return _revealed(self.database_url) or f"sqlite:///{self.data_dir / 'makegood.db'}"

    @property
    def smtp_url_or_default(self) -> str:
        """The mail server: `SMTP_URL`, else the built-in mailbox. It may hold a password."""
        return _revealed(self.smtp_url) or f"smtp://127.0.0.1:{self.smtp_port}"

    @property
    def public_url_or_default(self) -> str:
        """The URL of the console, without a trailing slash."""
        if self.public_url is not None:
            return self.public_url
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        is_bare_ipv6 = ":" in host and not host.startswith("[")
        return f"http://{f'[{host}]' if is_bare_ipv6 else host}:{self.port}"

    @property
    def temporal_target(self) -> str:
        """Temporal's `host:port`: `TEMPORAL_ADDRESS`, else that of `makegood up`."""
        return self.temporal_address or f"127.0.0.1:{self.temporal_port}"

    def egress_of(self, *, livemode: bool) -> tuple[Network, ...]:
        """The ranges that repair URLs of a live or a test project may lead to."""
        return self.egress_allow if livemode else (*self.egress_allow, *self.egress_allow_test)

    @property
    def mailbox_dir(self) -> Path:
        """The directory of the built-in mailbox."""
        return self.data_dir / "mailbox"

    @property
    def secret_key_path(self) -> Path:
        """The file to which the first run writes the root secret if `SECRET_KEY` is not set."""
        return self.data_dir / SECRET_KEY_FILE_NAME

    @property
    def previous_secret_key_path(self) -> Path:
        """The file to which `makegood secret rotate` moves the root secret that it replaced."""
        return self.data_dir / PREVIOUS_SECRET_KEY_FILE_NAME

    @property
    def uses_temporal_tls(self) -> bool:
        """`TEMPORAL_TLS`, else whether another TLS setting or an API key is given."""
        if self.temporal_tls is not None:
            return self.temporal_tls
        hints = (
            self.temporal_tls_server_name,
            self.temporal_tls_ca_cert,
            self.temporal_tls_client_cert,
        )
        return self.temporal_api_key is not None or any(hint is not None for hint in hints)

    def read_secret_key(self) -> str:
        """The root secret, from `SECRET_KEY` or the data directory.

        Raises: SettingsError when there is none, or when it is too short.
        """
        if self.secret_key is not None:
            return self.secret_key.get_secret_value()
        return read_root_secret(self.secret_key_path)

    def read_previous_secret_key(self) -> str | None:
        """The root secret that is being replaced. None if there is none.

        It comes from `SECRET_KEY_PREVIOUS`. If neither variable is set, it comes from the data
        directory.

        Raises: SettingsError when its file cannot be read, or is too short.
        """
        if self.secret_key_previous is not None:
            return self.secret_key_previous.get_secret_value()
        if self.secret_key is not None or not self.previous_secret_key_path.exists():
            return None
        return read_root_secret(self.previous_secret_key_path)

    @field_validator("*", mode="before")
    @classmethod
    def _is_one_line(cls, value: object) -> object:
        return one_line(value)

    @model_validator(mode="after")
    def _pairs_are_whole(self) -> Self:
        for one, other in PAIRS:
            if (getattr(self, one) is None) != (getattr(self, other) is None):
                names = f"{environment_name(one)} and {environment_name(other)}"
                raise ValueError(f"{names} must be given together")
        return self


def load_settings(variables: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process; `variables` replace those of the environment.

    Raises: SettingsError with a line for every variable that is wrong.
    """
    try:
        fields = {environment_name(name): name for name in Settings.model_fields}
        # Any: pydantic parses the text of each field.
        replaced: dict[str, Any] = {fields[name]: text for name, text in (variables or {}).items()}
        return Settings(**replaced)
    except ValidationError as error:
        problems = error.errors(include_input=False)
        lines = (_problem_line(problem["loc"], problem["msg"]) for problem in problems)
        raise SettingsError("\n".join(lines)) from None


def environment_name(field_name: str) -> str:
    """The variable that sets a field, as the documentation spells it."""
    alias = Settings.model_fields[field_name].validation_alias
    if isinstance(alias, AliasChoices):
        return str(alias.choices[0])
    return alias if isinstance(alias, str) else f"{PREFIX}{field_name.upper()}"


def environment_names() -> tuple[str, ...]:
    """Every variable that Makegood reads, those that name a file among them."""
    aliases = (Settings.model_fields[name].validation_alias for name in Settings.model_fields)
    others = (
        str(choice)
        for alias in aliases
        if isinstance(alias, AliasChoices)
        for choice in alias.choices
    )
    files = (f"{environment_name(name)}_FILE" for name in SECRET_FIELDS)
    return tuple(dict.fromkeys((*map(environment_name, Settings.model_fields), *files, *others)))


def _revealed(value: SecretStr | None) -> str | None:
    return None if value is None else value.get_secret_value()


def _problem_line(location: tuple[int | str, ...], message: str) -> str:
    """One line for a wrong setting. For an alias, pydantic already reports the variable's name."""
    # Pydantic puts these before the messages of our own validators.
    message = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if not location:
        return message
    first = str(location[0])
    return f"{environment_name(first) if first in Settings.model_fields else first}: {message}"
