"""Values that no process could work with are refused by the name of their variable, and never
quoted.
"""

from pathlib import Path

import pytest

from config.secret_files import SettingsError, read_certificate
from config.settings import load_settings


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MAKEGOOD_DATABASE_URL", "sqlite:///:memory:", "must name a file"),
        ("MAKEGOOD_DATABASE_URL", "sqlite://", "must name a file"),
        ("MAKEGOOD_DATABASE_URL", "sqlite:///data/", "must name a file"),
        ("MAKEGOOD_DATABASE_URL", "sqlite://host:port/data.db", "must name a file"),
        ("MAKEGOOD_DATABASE_URL", "sqlite://host/data.db", "must name a file"),
        ("MAKEGOOD_DATABASE_URL", "sqlite:///.", "must name a file"),
        ("MAKEGOOD_DATABASE_URL", "sqlite:////data/..", "must name a file"),
        ("MAKEGOOD_DATABASE_URL", "postgresql://u:s3cret\uff1fx@h/db", "as all beyond ASCII"),
        ("MAKEGOOD_SMTP_URL", "smtp://u:s3cret\uff1fx@h:25", "as all beyond ASCII"),
        (
            "MAKEGOOD_OIDC_ISSUER",
            "https://u:s3cret\uff1fx@h",
            "must look like https://id.example.com",
        ),
        ("MAKEGOOD_HOST", "http://x", "must be a host name or an IP address"),
        ("MAKEGOOD_HOST", "127.0.0.1:80", "must be a host name or an IP address"),
        ("MAKEGOOD_HOST", "a..b", "must be a host name or an IP address"),
        ("MAKEGOOD_HOST", "x" * 70 + ".de", "must be a host name or an IP address"),
        ("MAKEGOOD_HOST", "nowhere host", "must be a host name or an IP address"),
        ("MAKEGOOD_PORT", "8_000", "must be a whole number, in digits"),
        ("MAKEGOOD_PORT", "8000.0", "must be a whole number, in digits"),
        ("TEMPORAL_ADDRESS", "a..b:7233", "is no host name"),
        ("TEMPORAL_NAMESPACE", "n" * 2_000, "at most 1000 characters"),
        ("MAKEGOOD_SMTP_URL", "smtp://u:s3cret%0d%0ax@h", "cannot be read"),
        ("MAKEGOOD_SMTP_URL", "smtp://u:pw@", "must name one host"),
        ("MAKEGOOD_SMTP_URL", "smtps://", "must name one host"),
        ("MAKEGOOD_SMTP_URL", "smtp://u:pw@:25", "must name one host"),
        ("MAKEGOOD_SMTP_URL", "smtp://u:pw@h:25,k:26", "must name one host"),
        ("MAKEGOOD_SMTP_URL", "smtp://u:%ffpw@h:25", "cannot be read"),
        ("MAKEGOOD_OUTAGE_SECONDS", "99999999999999999999", "less than or equal to 31622400"),
        ("MAKEGOOD_RECONCILE_SECONDS", "99999999999999999999", "less than or equal to 31622400"),
        (
            "MAKEGOOD_CALLBACK_SCHEDULE_SECONDS",
            "0,99999999999999999999",
            "less than or equal to 31622400",
        ),
        ("MAKEGOOD_RATE_LIMIT", "9" * 400, "less than or equal to 1000000000"),
        ("MAKEGOOD_DISPATCH_RATE", "9" * 5_000, "MAKEGOOD_DISPATCH_RATE"),
        ("MAKEGOOD_SECRET_KEY_FILE", "/dev/zero", "longer than any secret"),
    ],
)
def test_value_that_nothing_could_work_with_is_refused_by_name(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as refused:
        load_settings()

    assert str(refused.value).startswith(name)
    assert message in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_kept_root_secret_without_an_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret_key").symlink_to("/dev/zero")
    monkeypatch.setenv("MAKEGOOD_DATA_DIR", str(tmp_path))

    with pytest.raises(SettingsError, match="it is longer than any secret"):
        load_settings().read_secret_key()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::", "::1", "0.0.0.0", "localhost", "api_1", "makegood.example.com."]
)
def test_host_to_listen_on_is_taken(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKEGOOD_HOST", host)

    assert load_settings().host == host


def test_certificate_without_an_end_is_an_error_of_its_file() -> None:
    with pytest.raises(OSError, match="it is longer than any certificate: '/dev/zero'"):
        read_certificate(Path("/dev/zero"))
