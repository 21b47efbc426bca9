"""Where calls go: targets as people write them, and the channel options that every client needs."""

import ipaddress
import re
import socket
from importlib import resources
from typing import Final

from dcgan.errors import Unavailable

DEFAULT_TIMEOUT_S: Final = 30.0
DEFAULT_TARGET: Final = "localhost:50051"
DEFAULT_PORT: Final = 50051
_MAX_RECONNECT_MS: Final = 5_000  # after it a server that came back is asked again; gRPC itself waits up to two minutes


def options() -> list[tuple[str, str | int]]:
    """Gives the channel options: the published service config, which balances round robin, and backoff.

    Its retries are off: `retries` decides alone. With retries of its own gRPC (1.85.1) may report that a stream failed
    and never hand back what was asked of it before: where a server was killed, one of two threads that streamed waited
    for ever, beyond any deadline.
    """
    config = resources.files("dcgan.v1").joinpath("service_config.json").read_text()
    return [
        ("grpc.service_config", config),
        ("grpc.max_reconnect_backoff_ms", _MAX_RECONNECT_MS),
        ("grpc.enable_retries", 0),
    ]


def address_of(target: str) -> str:
    """Writes a target as gRPC takes it.

    One address may be anything that gRPC knows, such as host:port, dns:///host:port or unix:/path; without a port,
    50051 is taken. Several, separated by commas, are balanced; their names are looked up once, here. Servers behind
    one name with many addresses need no list: gRPC looks those up by itself, again and again.

    Raises:
        Unavailable: a name of a list is unknown.
    """
    parts = listed(target)
    if len(parts) == 1:
        return _with_port(parts[0])
    addresses = [_looked_up(_with_port(part)) for part in parts]
    for family, scheme in ((socket.AF_INET, "ipv4"), (socket.AF_INET6, "ipv6")):
        if all(family in found for found in addresses):
            return f"{scheme}:{','.join(found[family] for found in addresses)}"
    raise Unavailable(f"the addresses {target} have neither IPv4 nor IPv6 in common, and a list can't mix them")


def listed(target: str) -> list[str]:
    """Gives the addresses of a target as they are written, each once; of an empty one the default."""
    return list(dict.fromkeys(part.strip() for part in target.split(",") if part.strip())) or [DEFAULT_TARGET]


def _with_port(address: str) -> str:
    """Adds the port where there is none; gRPC would take that of HTTPS."""
    if "/" in address or re.match(r"[a-z][a-z0-9+.-]*:(?!\d)", address):  # has a scheme
        return address
    try:
        literal = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return address if re.search(r":\d+$", address) else f"{address}:{DEFAULT_PORT}"
    return f"[{literal}]:{DEFAULT_PORT}" if literal.version == 6 else f"{literal}:{DEFAULT_PORT}"


def _looked_up(address: str) -> dict[int, str]:
    """Finds the first address of each family, as host:port."""
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise Unavailable(f"no address is known for {address}: {error}") from error
    first: dict[int, str] = {}
    for family, _, _, _, (number, *_) in found:
        first.setdefault(family, f"[{number}]:{port}" if family == socket.AF_INET6 else f"{number}:{port}")
    return first
