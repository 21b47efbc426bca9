"""When to try again, for how long, and what to say in the end. Pure policy; the clients wait and call.

Every call of the API is pure, so anything that doesn't blame the request may be repeated:
- UNAVAILABLE, and a CANCELLED that the caller never asked for, which a stopping or a flooded server gives;
- RESOURCE_EXHAUSTED, when the server says that it may come back, as often as service_config.json tells other clients;
- streams: whatever cuts one goes on with the next image. A stream as a whole has no deadline, since it may have any
  length; every attempt has one, and an attempt that brought images is followed by another.
"""

import random
import time
from collections.abc import Callable
from typing import Final

import grpc

from dcgan import status
from dcgan.errors import (
    BundleChanged,
    Cancelled,
    DcganError,
    DeadlineExceeded,
    Overloaded,
    Unavailable,
    VersionNotServed,
)

PATIENCE_S: Final = 3.0  # after a first failure, for another server to take over or the same to come back
FIRST_CONTACT_S: Final = 1.0  # for a target that never answered
NO_SERVER: Final = "target"  # key in the metadata of an Unavailable that no server has said
_ATTEMPTS: Final = 5  # at a call that a full queue refuses, maxAttempts of service_config.json
_FIRST_DELAY_S: Final = 0.1
_LONGEST_DELAY_S: Final = 1.0


class Tries:
    """The attempts at one call or stream.

    Args:
        target: where the calls go, for messages.
        timeout_s: seconds for a call; for a stream, seconds without a new image.
        answered: whether the target has ever answered; a wrong address should be told soon.
        clock: seconds, monotonic.
    """

    def __init__(
        self, target: str, timeout_s: float, answered: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._target, self._timeout_s, self._answered, self._clock = target, timeout_s, answered, clock
        self._began = clock()
        self._failures = self._refusals = 0  # refusals are by full queues, and no failures
        self._first_failure = 0.0
        self._moved = False  # whether this attempt brought something
        self._resumed = False  # whether any earlier one did
        self._replaced: BundleChanged | None = None  # what a server has said since images came, while others failed

    def timeout_s(self) -> float:
        """Seconds that the next attempt may take."""
        return max(0.001, self._began + self._timeout_s - self._clock())

    def progressed(self) -> None:
        """Notes that images came, so that an error ends this attempt and not the stream."""
        self._moved = True

    def part_ended(self) -> None:
        """Notes that a call ended well; the next one, for the stream's next part, gets time of its own.

        Raises:
            DcganError: it brought nothing, so the next would not either.
        """
        if not self._moved:
            raise DcganError(f"{self._target} ended a stream before its last image")
        self._start_anew()

    def delay_after(self, failure: grpc.RpcError) -> float:
        """Gives the seconds to wait before the next attempt; raises the error where there should be none.

        Raises:
            DcganError: our error for what happened, explained to the caller.
        """
        error = error_of(failure, self._target, self._timeout_s)
        if isinstance(error, VersionNotServed) and (self._moved or self._resumed):
            error = BundleChanged.restored(f"the rest of the stream can't be had: {error.message}", error.metadata)
        if self._moved:
            self._start_anew()
            if isinstance(error, DeadlineExceeded):
                return 0.0  # images came: only this attempt's time was over
        if isinstance(error, BundleChanged):
            self._replaced = error
        if isinstance(error, Overloaded):
            self._answered = True  # by a server that is there
        elif not self._failures:
            self._first_failure = self._clock()
        delay = self._delay(error)
        if delay is None or self._clock() + delay > self._end(error):
            raise self._replaced or error from failure
        self._refusals += isinstance(error, Overloaded)
        self._failures += not isinstance(error, Overloaded)
        return delay

    def _start_anew(self) -> None:
        """Forgets failures and time, since images came."""
        self._began = self._clock()
        self._failures = self._refusals = 0
        self._replaced = None
        self._resumed = True
        self._moved = False

    def _delay(self, error: DcganError) -> float | None:
        backoff_s = min(_FIRST_DELAY_S * 2.0 ** (self._failures + self._refusals), _LONGEST_DELAY_S) * random.uniform(
            0.75, 1.25
        )
        if isinstance(error, Overloaded) and not self._resumed and self._refusals >= _ATTEMPTS - 1:
            return None
        if isinstance(error, Unavailable | Overloaded):
            return max(error.retry_after_s or 0.0, backoff_s)
        return backoff_s if isinstance(error, Cancelled) else None

    def _end(self, error: DcganError) -> float:
        """When the last attempt after this error must begin."""
        end = self._began + self._timeout_s
        if isinstance(error, Overloaded):
            return end
        if NO_SERVER in error.metadata and not (self._answered or self._resumed):
            return min(end, self._began + FIRST_CONTACT_S)
        return min(end, self._first_failure + PATIENCE_S)


def error_of(failure: grpc.RpcError, target: str, timeout_s: float) -> DcganError:
    """Makes our error of gRPC's, explained to whoever asked `target` and waited for `timeout_s`."""
    assert isinstance(failure, grpc.Call | grpc.aio.AioRpcError)  # its class has no methods, but every object has
    trailers = [(str(key), value) for key, value in failure.trailing_metadata() or ()]
    error = status.error_of(failure.code(), failure.details() or "", trailers)
    if type(error) is Unavailable and not error.metadata:
        return Unavailable.restored(
            f"no server answers at {target}; start one with `dcgan serve` ({_brief(error.message)})",
            {NO_SERVER: target},
        )
    if isinstance(error, DeadlineExceeded):
        return DeadlineExceeded(
            f"{target} gave no answer within {timeout_s:g} s; ask for less, or wait longer with another timeout"
        )
    return error


def _brief(details: str) -> str:
    """Takes the end of gRPC's chain of causes, which tells what happened to whom."""
    line = " ".join(details.split())
    return line if len(line) <= 160 else f"...{line[-157:]}"
