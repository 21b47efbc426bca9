"""Errors as they travel: our tree to google.rpc.Status and back, the only place that knows both.

A status stays under 4 KiB, since larger trailers make gRPC replace the message by an error of its own.
Sources: google.rpc error_details.proto; gRFC A6 for `grpc-retry-pushback-ms`.
"""

from collections.abc import Iterable
from typing import Final, TypeAlias

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from dcgan.errors import (
    Cancelled,
    DcganError,
    DeadlineExceeded,
    InvalidField,
    NotInBundle,
    Retryable,
    Unavailable,
    UnknownDirection,
    VersionNotServed,
    class_of,
)

DOMAIN: Final = "dcgan"
DETAILS_KEY: Final = "grpc-status-details-bin"
PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"
_MAX_MESSAGE_BYTES: Final = 600  # it travels up to three times
_MAX_VALUE_BYTES: Final = 400

Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]


def code_of(error: DcganError) -> grpc.StatusCode:
    """Gives the status code of an error's class."""
    return grpc.StatusCode[error.code]


def message_of(error: DcganError) -> str:
    """Gives the message as it travels: cut where it would be too long."""
    return _cut(error.message, _MAX_MESSAGE_BYTES)


def trailers_of(error: DcganError) -> tuple[tuple[str, str | bytes], ...]:
    """Makes the trailing metadata that carries an error: its rich status, and when to retry."""
    code: int = code_of(error).value[0]
    message = message_of(error)
    metadata = {key: _cut(value, _MAX_VALUE_BYTES) for key, value in error.metadata.items()}
    status = status_pb2.Status(code=code, message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata))
    detail = _detail(error, message)
    if detail is not None:
        status.details.add().Pack(detail)
    trailers: tuple[tuple[str, str | bytes], ...] = ((DETAILS_KEY, status.SerializeToString()),)
    if isinstance(error, Retryable) and error.retry_after_s is not None:
        trailers += ((PUSHBACK_KEY, str(max(1, round(1000 * error.retry_after_s)))),)
    return trailers


def error_of(code: grpc.StatusCode, details: str, trailers: Metadata | None) -> DcganError:
    """Makes the error again from what a call ended with; what isn't ours becomes the nearest class of the tree."""
    for key, value in trailers or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            restored = _restored(value)
            if restored is not None:
                return restored
    known = {error.code: error for error in (Cancelled, DeadlineExceeded, Unavailable)}
    error_class = known.get(code.name)
    if error_class is not None:
        return error_class.restored(details, {})
    return DcganError(f"{code.name}: {details}", code=code.name)


def _cut(text: str, size_bytes: int) -> str:
    data = text.encode(errors="replace")
    return text if len(data) <= size_bytes else f"{data[: size_bytes - 3].decode(errors='ignore')}..."


def _detail(error: DcganError, message: str) -> object:
    """Makes the one typed detail that an error's kind has, or None."""
    match error:
        case InvalidField():
            violation = error_details_pb2.BadRequest.FieldViolation(
                field=error.metadata["field"], description=message, reason=error.reason
            )
            return error_details_pb2.BadRequest(field_violations=[violation])
        case UnknownDirection():
            return error_details_pb2.ResourceInfo(
                resource_type="direction", resource_name=error.metadata["direction"], description=message
            )
        case NotInBundle():
            failure = error_details_pb2.PreconditionFailure.Violation(
                type="BUNDLE", subject=error.metadata["part"], description=message
            )
            return error_details_pb2.PreconditionFailure(violations=[failure])
        case VersionNotServed():
            failure = error_details_pb2.PreconditionFailure.Violation(
                type="VERSION", subject=error.metadata["asked"], description=message
            )
            return error_details_pb2.PreconditionFailure(violations=[failure])
        case Retryable(retry_after_s=float() as seconds):
            delay = Duration()
            delay.FromNanoseconds(round(seconds * 1e9))
            return error_details_pb2.RetryInfo(retry_delay=delay)
    return None


def _restored(data: bytes) -> DcganError | None:
    try:
        status = status_pb2.Status.FromString(data)
    except DecodeError:
        return None
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info) and info.domain == DOMAIN:
            error_class = class_of(info.reason)
            return None if error_class is None else error_class.restored(status.message, dict(info.metadata))
    return None
