"""Checks that the ports of `makegood up` are free before any process starts.

It binds each port and closes it again. Called by `cli.up.run`.
"""

import errno
import socket
from dataclasses import dataclass

from config.settings import Settings, environment_name


class PortsError(Exception):
    """One or more ports are not available; the message has a line for each, with its setting."""


@dataclass(frozen=True, slots=True)
class NeededPort:
    """A port that a child will listen on, and its settings field."""

    host: str
    port: int
    field_name: str


def needed_ports(settings: Settings) -> tuple[NeededPort, ...]:
    """The ports that the children of these settings listen on."""
    ports = [NeededPort(settings.host, settings.port, "port")]
    if settings.temporal_address is None:
        ports.append(NeededPort("127.0.0.1", settings.temporal_port, "temporal_port"))
        ports.append(NeededPort("127.0.0.1", settings.temporal_ui_port, "temporal_ui_port"))
    if settings.smtp_url is None:
        ports.append(NeededPort("127.0.0.1", settings.smtp_port, "smtp_port"))
    return tuple(ports)


def check_ports(ports: tuple[NeededPort, ...]) -> None:
    """Check every port.

    Raises: PortsError with every port that is taken, refused or used twice, and its setting.
    """
    problems = [problem for port in ports if (problem := _problem(port, ports)) is not None]
    if problems:
        raise PortsError("\n".join(problems))


def _problem(port: NeededPort, ports: tuple[NeededPort, ...]) -> str | None:
    name = environment_name(port.field_name)
    earlier = ports[: ports.index(port)]
    if twin := next((other for other in earlier if other.port == port.port), None):
        return (
            f"port {port.port} is used twice, by {environment_name(twin.field_name)} and {name}:"
            " change one"
        )
    try:
        _bind(port.host, port.port)
    except socket.gaierror:
        return f"MAKEGOOD_HOST: {port.host} is not an address of this machine"
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return (
                f"port {port.port} ({name}) is in use by another program: stop it, or set {name} to"
                " a free port"
            )
        if error.errno == errno.EADDRNOTAVAIL:
            return f"MAKEGOOD_HOST: {port.host} is not an address of this machine"
        return (
            f"port {port.port} ({name}) cannot be used ({error.strerror}): set {name} to another"
            " port"
        )
    return None


def _bind(host: str, port: int) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # If both sides set SO_REUSEADDR, a conflict shows only here.
        listener.listen(1)
