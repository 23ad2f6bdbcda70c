"""Dockerfile and docker-compose.yml, as far as they can be proved without Docker."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.settings import Settings, environment_names

ROOT = Path(__file__).parent.parent
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
# Any: a parsed document of no fixed shape.
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONCE = {"temporal-schema", "temporal-namespace", "migrate"}
OURS = {"api-1", "api-2", "worker-1", "worker-2", "migrate"}
VERSION_TAG = re.compile(r"[a-z0-9./-]+:v?\d+\.\d+[\w.-]*")
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?P<rest>[^}]*)\}")


def variables(text: str) -> dict[str, str]:
    """Each `${NAME…}` of the text, with what follows its name."""
    return {match["name"]: match["rest"] for match in VARIABLE.finditer(text)}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continued lines joined."""
    joined = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", DOCKERFILE))
    return [
        (name, rest.strip())
        for name, _, rest in (line.partition(" ") for line in joined.splitlines())
        if name
    ]


def test_the_services_of_production_are_there() -> None:
    assert set(SERVICES) == OURS | {
        "postgres",
        "temporal-schema",
        "temporal",
        "temporal-namespace",
        "temporal-ui",
        "mailpit",
    }


def test_every_setting_named_in_either_file_exists() -> None:
    named = set(re.findall(r"\b(?:MAKEGOOD|TEMPORAL)_[A-Z_]+\b", COMPOSE_TEXT + DOCKERFILE))

    assert named
    assert named - set(environment_names()) == set()


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_image_is_pinned_to_a_version(service: str) -> None:
    assert VERSION_TAG.fullmatch(SERVICES[service]["image"])


def test_base_images_are_pinned_to_a_version() -> None:
    images = [rest.split()[0] for name, rest in instructions() if name == "FROM"]

    assert len(images) == 2
    assert all(VERSION_TAG.fullmatch(image) for image in images)


def test_no_secret_has_a_default() -> None:
    found = variables(COMPOSE_TEXT)

    for name in ("POSTGRES_PASSWORD", "MAKEGOOD_SECRET_KEY"):
        assert found[name].startswith(":?"), name
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|PWD|SECRET|KEY|DATABASE_URL", name):
                is_optional_and_empty = str(value) == f"${{{name}:-}}"
                assert ":?" in str(value) or is_optional_and_empty, name


def test_image_holds_no_secret() -> None:
    environment = " ".join(rest for name, rest in instructions() if name in ("ENV", "ARG"))

    assert not re.search(r"PASSWORD|SECRET|_KEY|TOKEN", environment)


@pytest.mark.parametrize("service", sorted(set(SERVICES) - ONCE))
def test_service_has_a_health_check(service: str) -> None:
    check = SERVICES[service]["healthcheck"]

    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "retries", "start_period"} <= set(check)


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_ports_are_published_on_loopback_alone(service: str) -> None:
    assert all(
        re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in SERVICES[service].get("ports", [])
    )


def test_published_ports_differ() -> None:
    published = [
        port.rpartition(":")[0]
        for service in SERVICES.values()
        for port in service.get("ports", [])
    ]

    assert len(published) == len(set(published))


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_each_dependency_waits_for_health_or_for_the_end(service: str) -> None:
    for other, rule in SERVICES[service].get("depends_on", {}).items():
        wanted = "service_completed_successfully" if other in ONCE else "service_healthy"
        assert rule == {"condition": wanted}, other


def test_schema_and_migrations_come_before_those_that_need_them() -> None:
    needs = {name: set(service.get("depends_on", {})) for name, service in SERVICES.items()}

    assert needs["temporal-schema"] == {"postgres"}
    assert needs["temporal"] == {"temporal-schema"}
    assert all("migrate" in needs[name] for name in OURS - {"migrate"})
    assert all("temporal-namespace" in needs[name] for name in ("worker-1", "worker-2"))


@pytest.mark.parametrize("service", sorted(OURS))
def test_ours_run_read_only_and_without_privileges(service: str) -> None:
    defined = SERVICES[service]

    assert defined["read_only"] is True
    assert defined["tmpfs"] == ["/tmp"]
    assert defined["cap_drop"] == ["ALL"]
    assert defined["security_opt"] == ["no-new-privileges:true"]
    assert defined["environment"] == SERVICES["api-1"]["environment"]


def test_named_volumes_and_configs_are_declared() -> None:
    volumes = {
        volume.partition(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
    }
    configs = {
        config["source"] for service in SERVICES.values() for config in service.get("configs", [])
    }

    assert volumes == set(COMPOSE["volumes"])
    assert configs == set(COMPOSE["configs"])
    assert yaml.safe_load(COMPOSE["configs"]["temporal-dynamic"]["content"])


def test_settings_accept_the_environment_of_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"POSTGRES_PASSWORD": "p" * 48, "MAKEGOOD_SECRET_KEY": "k" * 64}
    for name, value in SERVICES["api-1"]["environment"].items():
        monkeypatch.setenv(
            name, VARIABLE.sub(lambda match: given.get(match["name"], match["rest"][2:]), value)
        )

    settings = Settings()

    assert (
        settings.database_url_or_default
        == f"postgresql://makegood:{'p' * 48}@postgres:5432/makegood"
    )
    assert settings.smtp_url_or_default == "smtp://mailpit:1025"
    assert settings.temporal_target == "temporal:7233"
    assert settings.read_secret_key() == "k" * 64


def test_image_runs_the_api_as_an_ordinary_user() -> None:
    lines = instructions()
    last = {name: rest for name, rest in lines}

    assert last["USER"] == "10001:10001"
    assert json.loads(last["ENTRYPOINT"]) == ["makegood"]
    assert json.loads(last["CMD"]) == ["api"]
    assert (
        json.loads(last["HEALTHCHECK"].partition("CMD ")[2])
        == SERVICES["api-1"]["healthcheck"]["test"][1:]
    )
    assert [name for name, _ in lines].index("USER") > [rest for _, rest in lines].index(
        "--from=build /opt/makegood /opt/makegood"
    )


def test_what_the_image_is_built_from_exists_and_is_sent_to_the_builder() -> None:
    sent = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }

    assert "requirements/run.txt" in sent
    assert [name for name in sent if not list(ROOT.glob(name))] == []
    assert {"pyproject.toml", "README.md"} <= sent
    built = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "setuptools"
    ]["packages"]["find"]["include"]
    assert {package.rstrip("*") for package in built} <= sent


def test_dependencies_of_the_image_are_checked_against_their_hashes() -> None:
    runs = " ".join(rest for name, rest in instructions() if name == "RUN")

    assert "install --require-hashes -r requirements/run.txt" in runs
    assert "install --no-deps --no-build-isolation ." in runs
