"""The one tree of errors: each class carries its gRPC status code and a stable reason.

A server raises these, `calls` turns them into rich statuses, and a client raises the same classes again.
Whatever can be told to a caller is one of them; anything else is a defect and becomes `InternalError`.

DcganError
├── InvalidRequest            INVALID_ARGUMENT: correct the request before trying again
│   ├── MalformedRequest          the bytes are no message of this method
│   ├── InvalidField              one field has a value that is not allowed
│   ├── TooManyImages             more images than one message carries
│   └── RequestTooLarge           more bytes than a request may have
├── UnknownDirection          NOT_FOUND: this bundle has no direction of that name
├── NotInBundle               FAILED_PRECONDITION: this bundle has no discriminator or no encoder
├── VersionNotServed          FAILED_PRECONDITION: another version of the model serves
├── Overloaded                RESOURCE_EXHAUSTED: the queue is full, come back later
├── DeadlineExceeded          DEADLINE_EXCEEDED: the answer took longer than the caller waits
├── Unavailable               UNAVAILABLE: no server, or one that can't answer now; try again
│   ├── Draining                  this server stops; another one continues the work
│   └── BundleChanged             a stream was cut because another version took over
├── Cancelled                 CANCELLED: the call was ended by its caller or by a stopping server
├── InternalError             INTERNAL: a defect of the server; the request id is in its log
└── LocalError                never crosses the wire: what the programs say to the person who runs them
    ├── BundleError               a bundle is refused: the file and why
    ├── DeviceError               the device that was asked for can't be used
    ├── SettingsError             a setting is unknown, out of range or contradicts another
    ├── ExpressionError           an expression that can't be built
    └── OutputError               a result can't be written
"""

from collections.abc import Mapping
from typing import ClassVar, Self


class DcganError(Exception):
    """Base of every error of this project.

    Attributes:
        code: name of the gRPC status code that the error travels under.
        reason: stable UPPER_SNAKE identifier, the `reason` of google.rpc.ErrorInfo.
        message: what happened, what is allowed and what to do, for a reader who doesn't know our code.
        metadata: the variable parts of the message, as text.
    """

    code: ClassVar[str] = "UNKNOWN"
    reason: ClassVar[str] = "UNKNOWN"

    def __init__(self, message: str, **metadata: object) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = {key: str(value) for key, value in metadata.items()}

    @classmethod
    def restored(cls, message: str, metadata: Mapping[str, str]) -> Self:
        """Makes the error again from what travelled, whatever arguments its own constructor takes."""
        error = cls.__new__(cls)
        DcganError.__init__(error, message, **metadata)
        return error


class InvalidRequest(DcganError):
    """The request can't be served as it is; sending it again unchanged fails again."""

    code = "INVALID_ARGUMENT"
    reason = "INVALID_REQUEST"


class MalformedRequest(InvalidRequest):
    """The bytes that arrived are no message of the called method."""

    reason = "MALFORMED_REQUEST"

    def __init__(self, message_type: str, size_bytes: int) -> None:
        super().__init__(
            f"the {size_bytes} bytes of the request are not a {message_type}; "
            "generate the client's stubs from the same proto as the server's",
            message_type=message_type,
            size_bytes=size_bytes,
        )


class InvalidField(InvalidRequest):
    """One field of the request has a value that is not allowed."""

    reason = "INVALID_FIELD"

    def __init__(self, field: str, value: object, allowed: str) -> None:
        seen = str(value)
        seen = seen if len(seen) <= 80 else f"{seen[:77]}..."
        super().__init__(f"{field} is {seen or 'empty'}; allowed: {allowed}", field=field, value=seen, allowed=allowed)


class TooManyImages(InvalidRequest):
    """One call asked for more images than one message may carry; do not retry it as it is."""

    reason = "TOO_MANY_IMAGES"

    def __init__(self, image_count: int, limit: int) -> None:
        super().__init__(
            f"{image_count} images were asked for but Sample returns at most {limit}; use StreamSamples for more",
            image_count=image_count,
            limit=limit,
            use="StreamSamples",
        )


class RequestTooLarge(InvalidRequest):
    """The request has more bytes than any that is served."""

    reason = "REQUEST_TOO_LARGE"

    def __init__(self, size_bytes: int, limit: int) -> None:
        super().__init__(
            f"the request has {size_bytes} bytes of at most {limit}; send its images' latents in several calls",
            size_bytes=size_bytes,
            limit=limit,
        )


class UnknownDirection(DcganError):
    """The expression names a direction that this bundle doesn't have."""

    code = "NOT_FOUND"
    reason = "UNKNOWN_DIRECTION"

    def __init__(self, field: str, direction: str, available: list[str]) -> None:
        there = ", ".join(available[:50]) or "none"
        super().__init__(
            f"{field}: this bundle has no direction {direction[:80]!r}; it has: {there}",
            field=field,
            direction=direction[:80],
            available=there,
        )


class NotInBundle(DcganError):
    """The request needs a part that this bundle doesn't have."""

    code = "FAILED_PRECONDITION"
    reason = "NOT_IN_BUNDLE"

    def __init__(self, field: str, part: str, remedy: str) -> None:
        super().__init__(f"{field}: this bundle has no {part}; {remedy}", field=field, part=part)


class VersionNotServed(DcganError):
    """The request names a version of the model that doesn't serve now."""

    code = "FAILED_PRECONDITION"
    reason = "VERSION_NOT_SERVED"

    def __init__(self, asked: str, served: str) -> None:
        super().__init__(
            f"version {asked[:80]!r} doesn't serve; {served!r} does; leave version empty to take whatever serves",
            asked=asked[:80],
            served=served,
        )


class Retryable(DcganError):
    """The same call may succeed later; `retry_after_s` says when, in seconds, if the server knows."""

    @property
    def retry_after_s(self) -> float | None:
        """Seconds to wait before the next try, or None where the server named no time."""
        value = self.metadata.get("retry_after_s")
        return None if value is None else float(value)


class Overloaded(Retryable):
    """The queue has no room for the rows of this call, or no time before its deadline; nothing of it was started."""

    code = "RESOURCE_EXHAUSTED"
    reason = "OVERLOADED"

    def __init__(self, why: str, retry_after_s: float) -> None:
        wait_s = min(60.0, max(0.01, retry_after_s))
        super().__init__(f"{why}; try again in {wait_s:.3f} s", retry_after_s=f"{wait_s:.3f}")


class DeadlineExceeded(DcganError):
    """The deadline passed before the answer was there."""

    code = "DEADLINE_EXCEEDED"
    reason = "DEADLINE_EXCEEDED"


class Unavailable(Retryable):
    """No server answers at the target, or it can't serve at the moment."""

    code = "UNAVAILABLE"
    reason = "UNAVAILABLE"


class Draining(Unavailable):
    """The server is about to stop; `next_index` in the metadata says where a cut stream continues."""

    reason = "DRAINING"

    def __init__(self, next_index: int) -> None:
        super().__init__(
            f"this server stops; ask another one to continue at {next_index}", next_index=next_index, retry_after_s=0.05
        )


class BundleChanged(Unavailable):
    """Another version took over while a stream was running; it must not be continued on that one.

    `next_index` in the metadata says where the stream goes on, on a server that still serves its version.
    """

    reason = "BUNDLE_CHANGED"

    def __init__(self, version: str, successor: str, next_index: int | None = None) -> None:
        where = {} if next_index is None else {"next_index": next_index}
        super().__init__(
            f"version {successor!r} took over from {version!r}; only a server that still serves {version!r} can go on"
            + (f" at {next_index}" if where else ""),
            version=version,
            successor=successor,
            retry_after_s=0.05,
            **where,
        )


class Cancelled(DcganError):
    """The call was ended before its answer, by its caller or by a server that stopped."""

    code = "CANCELLED"
    reason = "CANCELLED"


class InternalError(DcganError):
    """A defect of the server; what happened stands in its log under the request id."""

    code = "INTERNAL"
    reason = "INTERNAL"

    def __init__(self, request_id: str) -> None:
        super().__init__(f"the server failed; its log tells why under request id {request_id}", request_id=request_id)


class LocalError(DcganError):
    """Said by a program to the person who runs it; never sent to a caller."""

    code = "FAILED_PRECONDITION"
    reason = "LOCAL"


class BundleError(LocalError):
    """A model bundle is refused; names the file and the reason."""

    reason = "BUNDLE_REFUSED"

    def __init__(self, file: object, why: str) -> None:
        super().__init__(f"{file}: {why}", file=file, why=why)


class DeviceError(LocalError):
    """The device or its libraries can't be used as asked."""

    reason = "DEVICE_UNUSABLE"


class SettingsError(LocalError):
    """A setting is unknown, out of range, or contradicts another."""

    reason = "INVALID_SETTING"


class ExpressionError(LocalError):
    """A latent expression that can't be built."""

    reason = "INVALID_EXPRESSION"


class OutputError(LocalError):
    """A result can't be written where it was asked for."""

    reason = "OUTPUT_NOT_WRITTEN"


def all_classes() -> list[type[DcganError]]:
    """Lists the classes of the tree."""
    found: list[type[DcganError]] = [DcganError]
    for error_class in found:
        found.extend(error_class.__subclasses__())
    return found


def class_of(reason: str) -> type[DcganError] | None:
    """Finds the class whose `reason` this is, for a client that makes an error again; None if there is none."""
    return next((error_class for error_class in all_classes() if error_class.reason == reason), None)
