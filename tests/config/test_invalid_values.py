"""Invalid values of settings: rejected by name, and never quoted."""

from pathlib import Path

import pytest

from config.secret_files import SettingsError
from config.settings import (
    SECRET_FIELDS,
    environment_name,
    load_settings,
)

READ_WRONGLY = "r3served-"
RESERVED = [
    f"postgresql://makegood:{READ_WRONGLY}@pass@db/makegood",
    f"postgresql://makegood:{READ_WRONGLY}/pass@db/makegood",
    f"postgresql://makegood:{READ_WRONGLY}#pass@db/makegood",
    f"postgresql://makegood:{READ_WRONGLY}?pass@db/makegood",
    f"postgresql://makegood:{READ_WRONGLY}%pass@db/makegood",
    f"postgresql://makegood:12/{READ_WRONGLY}@db/makegood",
    f"postgresql://makegood:{READ_WRONGLY}[@db/makegood",
    f"postgresql://makegood:{READ_WRONGLY}@db:five/makegood",
    f"postgresql://makegood:{READ_WRONGLY}@db:99999/makegood",
    f"postgresql://makegood:{READ_WRONGLY}\n@db/makegood",
    f"postgresql://makegood:{READ_WRONGLY}@db/makegood?sslmode=on",
    *[
        f"postgresql://makegood:{READ_WRONGLY}@db/makegood?pooler={mode}"
        for mode in ("session", "transactions", "Transaction", "")
    ],
    *[
        f"postgresql://makegood:{READ_WRONGLY}@db/makegood?{option}=/nowhere/file.pem"
        for option in ("sslrootcert", "sslcert", "sslkey", "sslcrl")
    ],
    f"postgresql:makegood:{READ_WRONGLY}@db/makegood",
    *[
        f"postgresql://makegood:{READ_WRONGLY}@{host}/makegood"
        for host in (
            "db:0",
            "one:5432,two:0",
            "[:::]:1",
            "[1.2.3]",
            "[::1",
            "[::1.2.3.999]:5432",
            "[::1]:0",
            "%00",
            "d%zzb",
            "%ff",
        )
    ],
    *[
        f"postgresql://makegood:{READ_WRONGLY}{odd}@db/makegood"
        for odd in ("%00", "%zz", "%0", "%", "%ff", "%ed%a0%80")
    ],
    *[
        f"postgresql://makegood:{READ_WRONGLY}@db/{rest}"
        for rest in (
            *("%zz", "%00", "a%", "%ff"),
            *(
                f"makegood?port={port}"
                for port in ("abc", "0", "65536", "", "5432,", "-1", "5432,x", "٥")
            ),
            *(
                "makegood?connect_timeout=abc",
                "makegood?connect_timeout=10",
                "makegood?channel_binding=require",
            ),
            *(
                "makegood?host=db:abc",
                "makegood?host=[:::]",
                "makegood?host=db:0",
                "makegood?host=one,two:x",
            ),
            *(
                "makegood?a",
                "makegood?&",
                "makegood?a=%zz",
                "makegood?a=%00",
                "makegood?ssl_min_protocol_version=1.2",
            ),
        )
    ],
]
WRONG = [
    *[("MAKEGOOD_DATABASE_URL", url) for url in RESERVED],
    ("MAKEGOOD_SMTP_URL", f"smtp://user:{READ_WRONGLY}@pass@mail"),
    ("MAKEGOOD_SMTP_URL", f"smtp://user:{READ_WRONGLY}/pass@mail"),
    ("MAKEGOOD_SMTP_URL", f"smtp://user:{READ_WRONGLY}#@mail:587"),
    ("MAKEGOOD_SMTP_URL", f"smtp://user:{READ_WRONGLY}@mail:port"),
    ("MAKEGOOD_SMTP_URL", f"smtp://user:{READ_WRONGLY}@mail?starttls=yes"),
    ("MAKEGOOD_SMTP_URL", f"smtp://user:{READ_WRONGLY}@mail?tls=required"),
    ("MAKEGOOD_SMTP_URL", f"smtp://user:{READ_WRONGLY}@mail/path"),
    *[
        ("MAKEGOOD_SMTP_URL", f"smtp://user:{READ_WRONGLY}@{host}")
        for host in ("[:::]", "[1.2.3]:25", "mail:0", "%00", "mail?a")
    ],
    ("MAKEGOOD_SMTP_URL", f"smtp://user:{READ_WRONGLY}%00@mail"),
    ("TEMPORAL_ADDRESS", "[:::]:7233"),
    ("TEMPORAL_ADDRESS", "[1.2.3]:7233"),
    ("TEMPORAL_ADDRESS", "temporal:0"),
    ("TEMPORAL_API_KEY", f"{READ_WRONGLY}\nsecond-line"),
    ("TEMPORAL_API_KEY", f"{READ_WRONGLY} with a space"),
    ("TEMPORAL_API_KEY", f"{READ_WRONGLY}ü"),
    ("MAKEGOOD_SECRET_KEY", f"{READ_WRONGLY}{'x' * 32}\n{'y' * 32}"),
    ("MAKEGOOD_OIDC_CLIENT_SECRET", f"{READ_WRONGLY}\r\nX-Header: 1"),
    ("TEMPORAL_ADDRESS", f"https://{READ_WRONGLY}:7233"),
    ("TEMPORAL_ADDRESS", f"{READ_WRONGLY}host:99999"),
    ("TEMPORAL_ADDRESS", f"{READ_WRONGLY} host:7233"),
    ("MAKEGOOD_PUBLIC_URL", f"https://makegood.example.com:{READ_WRONGLY}"),
    ("MAKEGOOD_TEMPORAL_UI_URL", f"javascript:{READ_WRONGLY}"),
]
MAY_BE_FILES = {environment_name(field) for field in SECRET_FIELDS}


@pytest.mark.parametrize(
    ("name", "value", "is_in_file"),
    [
        (name, value, is_in_file)
        for name, value in WRONG
        for is_in_file in (False, True)
        if not is_in_file or name in MAY_BE_FILES
    ],
)
def test_invalid_value_is_rejected_by_name_and_never_quoted(
    name: str, value: str, is_in_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_in_file:
        (tmp_path / "file").write_text(value)
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "file"))
    else:
        monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as refused:
        load_settings()

    assert name in str(refused.value)
    assert READ_WRONGLY.rstrip("-") not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (
            "MAKEGOOD_DATABASE_URL",
            "postgresql://makegood:a%40b%2Fc%23d%3Fe%25f:g@one:5432,two:5433/makegood?target_session_attrs=any",
        ),
        ("MAKEGOOD_DATABASE_URL", "postgresql:///makegood?host=/var/run/postgresql"),
        (
            "MAKEGOOD_DATABASE_URL",
            "postgresql://makegood@[2001:db8::1]:5432/makegood?sslmode=verify-full",
        ),
        (
            "MAKEGOOD_DATABASE_URL",
            "postgresql://[::1]:1,[2001:db8::1]:65535,db/makegood?application_name=a%20b",
        ),
        (
            "MAKEGOOD_DATABASE_URL",
            "postgresql://makegood:%E2%82%AC@/makegood?host=/var/run/postgresql,db:5432&port=5433",
        ),
        (
            "MAKEGOOD_DATABASE_URL",
            "postgresql://makegood@%2Fvar%2Frun/makegood?ssl_min_protocol_version=TLSv1.3",
        ),
        ("MAKEGOOD_DATABASE_URL", "sqlite:////data/a#b?c@d.db"),
        ("MAKEGOOD_SMTP_URL", "smtp://[::1]:2525"),
        (
            "MAKEGOOD_SMTP_URL",
            "smtp://user%40example.com:a%3Ab@mail.example.com:587?starttls=required",
        ),
        ("MAKEGOOD_SMTP_URL", "smtps://mail.example.com/"),
    ],
)
def test_url_with_encoded_reserved_characters_is_accepted(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, f"  {value}\n")

    settings = load_settings()

    assert value in (settings.database_url_or_default, settings.smtp_url_or_default)


@pytest.mark.parametrize("name", ["MAKEGOOD_PORT", "MAKEGOOD_TEMPORAL_PORT", "MAKEGOOD_SMTP_PORT"])
def test_port_set_by_kubernetes_gets_an_error_with_the_fix(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "tcp://10.96.0.17:8000")

    with pytest.raises(
        SettingsError,
        match=rf"^{name}: must be a port number; Kubernetes sets .*enableServiceLinks: false",
    ):
        load_settings()
