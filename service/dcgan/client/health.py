"""Asks a server whether it serves, by the standard protocol grpc.health.v1.

Its two messages have one field each. They are read and written here as bytes, so that a client needs no package for it.
Source: the gRPC health checking protocol, health.proto.
"""

from typing import Final

import grpc

from dcgan.client.channels import address_of
from dcgan.client.retries import error_of

_STATUSES: Final = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


def check(target: str, *, timeout_s: float) -> str:
    """Gives "SERVING", "NOT_SERVING", "UNKNOWN" or "SERVICE_UNKNOWN" for the server as a whole, after one try.

    Raises:
        DcganError: Unavailable where no server answers, DeadlineExceeded, and so on.
    """
    with grpc.insecure_channel(address_of(target)) as channel:
        call = channel.unary_unary(
            "/grpc.health.v1.Health/Check", request_serializer=_same, response_deserializer=_status
        )
        try:
            return call(b"", timeout=timeout_s)  # no service named: the whole server
        except grpc.RpcError as failure:
            raise error_of(failure, target, timeout_s) from failure


def _same(request: bytes) -> bytes:
    return request


def _status(response: bytes) -> str:
    """Reads field 1, an enum; a message without it says 0."""
    number = response[1] if response[:1] == b"\x08" and len(response) > 1 else 0
    return _STATUSES.get(number, "UNKNOWN")
