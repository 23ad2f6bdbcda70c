"""Settings:

the names of the contract, secrets that are never shown, files for them, errors that name the
variable.
"""

from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import SecretStr

from config.secret_files import SettingsError
from config.settings import (
    SECRET_FIELDS,
    Settings,
    environment_name,
    environment_names,
    load_settings,
)

SECRET = "s3cret-" * 6


def test_defaults_run_on_one_machine() -> None:
    settings = load_settings()

    assert settings.database_url_or_default == "sqlite:///.makegood/makegood.db"
    assert settings.smtp_url_or_default == "smtp://127.0.0.1:2525"
    assert settings.public_url_or_default == "http://127.0.0.1:8000"
    assert settings.temporal_target == "127.0.0.1:7233"
    assert settings.callback_schedule_seconds == (0, 60, 600, 3_600, 21_600)
    assert settings.egress_allow == ()
    assert not settings.uses_temporal_tls


def test_each_variable_reaches_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {
        "MAKEGOOD_DATA_DIR": "/data",
        "MAKEGOOD_EGRESS_ALLOW": "10.0.0.0/8, fd00::/8",
        "MAKEGOOD_CALLBACK_SCHEDULE_SECONDS": "0,1,5",
        "MAKEGOOD_CALLBACKS_PER_PROJECT": "3",
        "MAKEGOOD_CALLBACKS_PER_HOST": "7",
        "MAKEGOOD_PUBLIC_URL": "https://makegood.example.com/",
        "MAKEGOOD_DATABASE_URL": f"postgresql://makegood:{SECRET}@db/makegood",
        "MAKEGOOD_TEMPORAL_PORT": "17233",
        "TEMPORAL_ADDRESS": "temporal.example.com:7233",
        "TEMPORAL_NAMESPACE": "payments",
        "TEMPORAL_TLS_SERVER_CA_CERT_PATH": "/ca.pem",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    settings = load_settings()

    assert settings.data_dir == Path("/data")
    assert settings.egress_allow == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert settings.callback_schedule_seconds == (0, 1, 5)
    assert (settings.callbacks_per_project, settings.callbacks_per_host) == (3, 7)
    assert settings.public_url_or_default == "https://makegood.example.com"
    assert settings.database_url_or_default == environment["MAKEGOOD_DATABASE_URL"]
    assert settings.temporal_port == 17_233
    assert settings.temporal_target == "temporal.example.com:7233"
    assert settings.temporal_namespace == "payments"
    assert settings.temporal_tls_ca_cert == Path("/ca.pem")
    assert settings.uses_temporal_tls


@pytest.mark.parametrize("field_name", SECRET_FIELDS)
def test_secret_comes_from_the_file_that_its_variable_names(
    field_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgresql = "postgresql://"
    schemes = {"database_url": postgresql, "database_direct_url": postgresql, "smtp_url": "smtp://"}
    secret = f"{schemes.get(field_name, '')}{SECRET}"
    (tmp_path / "file").write_text(f"{secret}\n")
    monkeypatch.setenv(f"{environment_name(field_name)}_FILE", str(tmp_path / "file"))

    settings = load_settings()

    assert getattr(settings, field_name) == SecretStr(secret)
    assert SECRET not in f"{settings!r} {settings!s} {settings.model_dump()}"


@pytest.mark.parametrize("field_name", SECRET_FIELDS)
def test_file_of_a_secret_that_cannot_be_read_names_its_variable(
    field_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{environment_name(field_name)}_FILE"
    monkeypatch.setenv(name, "/nonexistent")

    with pytest.raises(
        SettingsError, match=rf"^{name}: /nonexistent cannot be read \(No such file or directory\)$"
    ):
        load_settings()


def test_secret_set_twice_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text(SECRET)
    monkeypatch.setenv("MAKEGOOD_SECRET_KEY", SECRET)
    monkeypatch.setenv("MAKEGOOD_SECRET_KEY_FILE", str(tmp_path / "file"))

    with pytest.raises(
        SettingsError, match="MAKEGOOD_SECRET_KEY and MAKEGOOD_SECRET_KEY_FILE are both set"
    ):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAKEGOOD_PORT", "99999"),
        ("MAKEGOOD_PORT", "eight thousand"),
        ("MAKEGOOD_SECRET_KEY", "too-short-a-s3cret"),
        ("MAKEGOOD_DATABASE_URL", "mysql://user:s3cret@db/makegood"),
        ("MAKEGOOD_SMTP_URL", "http://user:s3cret@mail"),
        ("MAKEGOOD_PUBLIC_URL", "makegood.example.com"),
        ("MAKEGOOD_PUBLIC_URL", "https://shop.example/events"),
        ("MAKEGOOD_PUBLIC_URL", "https://shop.example/api/makegood"),
        ("MAKEGOOD_PUBLIC_URL", "https://shop.example/tools//makegood"),
        ("MAKEGOOD_PUBLIC_URL", "https://shop.example/tools/../makegood"),
        ("MAKEGOOD_PUBLIC_URL", "https://shop.example/make;good"),
        ("MAKEGOOD_PUBLIC_URL", "https://shop.example/make%20good"),
        ("MAKEGOOD_EGRESS_ALLOW", "10.0.0.1/8"),
        ("MAKEGOOD_TRUSTED_PROXIES", "10.0.0.1/8"),
        ("MAKEGOOD_OIDC_ISSUER", "id.example.com"),
        ("MAKEGOOD_OIDC_ISSUER", "https://user:s3cret@id.example.com"),
        ("MAKEGOOD_OIDC_ISSUER", "https://id.example.com"),
        ("MAKEGOOD_CALLBACK_SCHEDULE_SECONDS", "0,-1"),
        ("MAKEGOOD_CALLBACK_TIMEOUT_SECONDS", "0"),
        ("MAKEGOOD_CALLBACK_TIMEOUT_SECONDS", "31"),
        ("MAKEGOOD_LOG_LEVEL", "loud"),
        ("TEMPORAL_ADDRESS", "temporal.example.com"),
        ("TEMPORAL_TLS", "perhaps"),
        ("TEMPORAL_TLS_CLIENT_CERT", "/cert.pem"),
    ],
)
def test_wrong_value_is_an_error_that_names_the_variable_and_hides_the_value(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as caught:
        load_settings()

    assert str(caught.value).startswith(name)
    assert "s3cret" not in str(caught.value)


def test_every_wrong_variable_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKEGOOD_PORT", "0")
    monkeypatch.setenv("MAKEGOOD_RATE_LIMIT", "0")

    with pytest.raises(SettingsError) as caught:
        load_settings()

    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "MAKEGOOD_PORT",
        "MAKEGOOD_RATE_LIMIT",
    ]


def test_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in environment_names():
        monkeypatch.setenv(name, "")

    assert load_settings() == Settings()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000"),
    ],
)
def test_public_url_of_every_address_is_loopback(host: str, url: str) -> None:
    assert Settings(host=host).public_url_or_default == url


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://shop.example/makegood", "https://shop.example/makegood"),
        ("https://shop.example/tools/make.good_1~2/", "https://shop.example/tools/make.good_1~2"),
    ],
)
def test_public_url_may_have_a_path(given: str, kept: str) -> None:
    assert Settings(public_url=given).public_url_or_default == kept


def test_previous_secret_comes_from_its_variable_or_the_data_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data_dir=tmp_path)
    settings.secret_key_path.write_text(SECRET)
    assert settings.read_previous_secret_key() is None

    settings.previous_secret_key_path.write_text(f"{SECRET}before\n")
    assert settings.read_previous_secret_key() == f"{SECRET}before"
    # The two files belong together: with a secret from the environment, neither is read.
    assert (
        Settings(data_dir=tmp_path, secret_key=SecretStr(SECRET)).read_previous_secret_key() is None
    )

    monkeypatch.setenv("MAKEGOOD_SECRET_KEY_PREVIOUS", "too-short-a-s3cret")
    with pytest.raises(SettingsError, match=r"^MAKEGOOD_SECRET_KEY_PREVIOUS: needs 32 characters"):
        load_settings()


@pytest.mark.parametrize(
    "value",
    ["nobody", "a b@shop.example", "jörg@shop.example", "Ops <ops@shop.example>", "a@b@c.example"],
)
def test_sender_that_no_mail_server_accepts_is_rejected_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("MAKEGOOD_MAIL_FROM", value)

    with pytest.raises(SettingsError, match="MAKEGOOD_MAIL_FROM") as refused:
        load_settings()

    assert value not in str(refused.value)


def test_sender_with_an_international_domain_is_kept_as_its_a_label(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MAKEGOOD_MAIL_FROM", "makegood@bücher.example")

    assert load_settings().mail_from == "makegood@xn--bcher-kva.example"


def test_secret_file_that_is_not_text_names_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"\xff\xfe" + SECRET.encode())
    monkeypatch.setenv("MAKEGOOD_SECRET_KEY_FILE", str(tmp_path / "file"))

    with pytest.raises(
        SettingsError, match=r"MAKEGOOD_SECRET_KEY_FILE: .* cannot be read \(it is not UTF-8 text\)"
    ) as refused:
        load_settings()

    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://h/api", "/api"),
        ("https://shop.example/v1/", "/v1"),
        ("https://shop.example/events/makegood", "/events"),
    ],
)
def test_public_url_below_a_path_of_our_own_is_refused_by_that_path(url: str, path: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings({"MAKEGOOD_PUBLIC_URL": url})

    assert str(refused.value) == (
        f"MAKEGOOD_PUBLIC_URL: must not have a path that begins with {path}, which is one of "
        "Makegood's own paths: use another one, such as /makegood"
    )
