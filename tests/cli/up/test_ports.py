"""The check of the ports before any process starts."""

import socket
from ipaddress import ip_address

import pytest
from pydantic import SecretStr

from cli.up.ports import NeededPort, PortsError, check_ports, needed_ports
from config.settings import Settings
from tests.support.processes import free_ports


def test_free_ports_pass() -> None:
    check_ports(tuple(NeededPort("127.0.0.1", port, "port") for port in free_ports(3)))


def test_each_taken_port_is_named_with_its_setting() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        taken = one.getsockname()[1], two.getsockname()[1]

        with pytest.raises(PortsError) as caught:
            check_ports(
                (
                    NeededPort("127.0.0.1", taken[0], "port"),
                    NeededPort("127.0.0.1", taken[1], "smtp_port"),
                )
            )

    assert f"port {taken[0]} (MAKEGOOD_PORT) is in use" in str(caught.value)
    assert f"port {taken[1]} (MAKEGOOD_SMTP_PORT) is in use" in str(caught.value)


def test_port_given_twice_names_both_settings() -> None:
    [port] = free_ports(1)
    settings = Settings(port=port, smtp_port=port, temporal_address="temporal.example:7233")

    with pytest.raises(PortsError, match="used twice, by MAKEGOOD_PORT and MAKEGOOD_SMTP_PORT"):
        check_ports(needed_ports(settings))


def test_host_of_another_machine_names_its_setting() -> None:
    [port] = free_ports(1)
    elsewhere = str(ip_address("192.0.2.1"))

    with pytest.raises(
        PortsError, match=f"MAKEGOOD_HOST: {elsewhere} is not an address of this machine"
    ):
        check_ports((NeededPort(elsewhere, port, "port"),))


def test_only_ports_of_children_that_are_started_are_needed() -> None:
    settings = Settings(
        temporal_address="temporal.example:7233", smtp_url=SecretStr("smtp://mail.example")
    )

    assert [port.field_name for port in needed_ports(settings)] == ["port"]
    assert len(needed_ports(Settings())) == 4
