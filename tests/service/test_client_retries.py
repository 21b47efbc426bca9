"""When a client tries again, for how long, what it says in the end; and where it calls."""

import contextlib
import json
from pathlib import Path

import grpc
import pytest

from dcgan.client import channels, retries
from dcgan.client.retries import Tries
from dcgan.errors import (
    BundleChanged,
    Cancelled,
    DcganError,
    DeadlineExceeded,
    Draining,
    InvalidField,
    Overloaded,
    Unavailable,
    VersionNotServed,
)
from dcgan.status import code_of, trailers_of


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def read(self) -> float:
        """Gives the time, as time.monotonic does."""
        return self.now


def failure(error: DcganError) -> grpc.aio.AioRpcError:
    """What gRPC raises where a server sends this error of ours."""
    trailers = grpc.aio.Metadata(*trailers_of(error))
    return grpc.aio.AioRpcError(code_of(error), grpc.aio.Metadata(), trailers, error.message)


def delays_until_given_up(tries: Tries, clock: Clock, failed: grpc.aio.AioRpcError) -> list[float]:
    """Waits and fails again and again, until the error itself is raised."""
    delays: list[float] = []
    with contextlib.suppress(Cancelled, Unavailable):
        while len(delays) < 1000:
            delays.append(tries.delay_after(failed))
            clock.now += delays[-1]
    return delays


def bare(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    """What gRPC raises by itself."""
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), "of gRPC")


@pytest.mark.parametrize("error", [InvalidField("seed", -1, "0"), VersionNotServed("1", "2")])
def test_what_blames_the_request_is_raised_at_once(error: DcganError) -> None:
    """As the class that the server raised."""
    tries = Tries("here", 30.0, True, Clock().read)
    with pytest.raises(type(error)) as raised:
        tries.delay_after(failure(error))
    assert raised.value.message == error.message


@pytest.mark.parametrize("failed", [bare(grpc.StatusCode.CANCELLED), bare(grpc.StatusCode.UNAVAILABLE)])
def test_a_call_is_repeated_with_growing_delays_until_patience_ends(failed: grpc.aio.AioRpcError) -> None:
    """A stopping server gives both, and another one takes over within seconds."""
    clock = Clock()
    tries = Tries("here", 30.0, True, clock.read)
    delays = delays_until_given_up(tries, clock, failed)
    assert delays[0] < delays[2] < delays[4]
    assert retries.PATIENCE_S - 1.3 < sum(delays) <= retries.PATIENCE_S


def test_a_target_that_never_answered_is_given_up_soon_and_says_how_to_start_a_server() -> None:
    """A wrong address is told within a second or two."""
    clock = Clock()
    tries = Tries("here:1", 30.0, False, clock.read)
    clock.now += 1.5
    with pytest.raises(Unavailable, match=r"no server answers at here:1; start one with `dcgan serve` \(of gRPC\)"):
        tries.delay_after(bare(grpc.StatusCode.UNAVAILABLE))


def test_a_slow_call_that_fails_late_is_still_repeated() -> None:
    """Patience counts from the first failure, the deadline from the start."""
    clock = Clock()
    tries = Tries("here", 30.0, True, clock.read)
    clock.now += 20.0
    assert tries.delay_after(bare(grpc.StatusCode.UNAVAILABLE)) < 0.2
    assert tries.timeout_s() == 10.0
    clock.now += 9.99
    with pytest.raises(Unavailable):
        tries.delay_after(bare(grpc.StatusCode.UNAVAILABLE))


def test_a_deadline_ends_a_call_and_says_how_long_it_waited() -> None:
    """With what to do about it."""
    with pytest.raises(DeadlineExceeded, match="here gave no answer within 7 s; ask for less, or wait longer"):
        Tries("here", 7.0, True, Clock().read).delay_after(bare(grpc.StatusCode.DEADLINE_EXCEEDED))


def test_a_stream_whose_attempt_ran_out_of_time_goes_on_if_it_brought_images() -> None:
    """A stream of any length has no deadline as a whole; one that stands still has."""
    clock = Clock()
    tries = Tries("here", 30.0, True, clock.read)
    for _ in range(10):
        clock.now += 30.0
        tries.progressed()
        assert tries.delay_after(bare(grpc.StatusCode.DEADLINE_EXCEEDED)) == 0.0
        assert tries.timeout_s() == 30.0
    with pytest.raises(DeadlineExceeded):
        tries.delay_after(bare(grpc.StatusCode.DEADLINE_EXCEEDED))


def test_a_call_that_a_full_queue_refuses_is_made_five_times_when_it_may_come_back() -> None:
    """As the published service config tells clients in other languages; then the caller hears of it."""
    published = json.loads((Path(__file__).parents[2] / "proto" / "service_config.json").read_text())
    attempts = published["methodConfig"][0]["retryPolicy"]["maxAttempts"]
    tries = Tries("here", 30.0, True, Clock().read)
    refused = failure(Overloaded("full", 2.5))
    assert [tries.delay_after(refused) for _ in range(attempts - 1)] == [2.5] * (attempts - 1)
    with pytest.raises(Overloaded, match="full"):
        tries.delay_after(refused)


def test_a_server_that_fails_after_it_was_full_gets_the_same_patience() -> None:
    """Though waiting for a full queue took longer than that; and failures use up none of the five attempts."""
    clock = Clock()
    tries = Tries("here", 30.0, False, clock.read)
    clock.now += tries.delay_after(failure(Overloaded("full", 4.0)))
    for _ in range(4):
        clock.now += tries.delay_after(bare(grpc.StatusCode.UNAVAILABLE))
    assert tries.delay_after(failure(Overloaded("full", 0.1))) >= 0.1


def test_a_stream_waits_as_long_as_a_server_that_is_full_asks_for() -> None:
    """However often, once it has begun."""
    tries = Tries("here", 30.0, True, Clock().read)
    tries.progressed()
    for _ in range(10):
        assert tries.delay_after(failure(Overloaded("full", 12.5))) == 12.5
    assert tries.delay_after(failure(Overloaded("full", 12.5))) == 12.5
    with pytest.raises(Overloaded):
        tries.delay_after(failure(Overloaded("full", 31.0)))


def test_a_stream_that_another_version_replaced_says_so() -> None:
    """VersionNotServed would blame a request that named none; for a while another server may still have it."""
    clock = Clock()
    tries = Tries("here", 30.0, True, clock.read)
    tries.progressed()
    assert tries.delay_after(failure(Draining(5))) >= 0.05
    replaced = failure(VersionNotServed("1", "2"))
    assert len(delays_until_given_up(tries, clock, replaced)) > 2
    clock.now += 10.0  # its jitter could else leave room for one more
    with pytest.raises(BundleChanged, match="'2' does"):
        tries.delay_after(replaced)


def test_that_a_version_is_gone_is_said_whatever_another_server_said_last() -> None:
    """Where one server has a new version and the other one stops, the first says why the rest can't be had."""
    clock = Clock()
    tries = Tries("here", 30.0, True, clock.read)
    tries.progressed()
    tries.delay_after(failure(VersionNotServed("1", "2")))
    clock.now += 10.0
    with pytest.raises(BundleChanged):
        tries.delay_after(failure(Draining(5)))


def test_a_stream_that_ends_without_an_image_is_an_error_and_no_endless_loop() -> None:
    """A server that ends a stream too early would be asked for ever otherwise."""
    tries = Tries("here", 30.0, True, Clock().read)
    tries.progressed()
    tries.part_ended()
    with pytest.raises(DcganError, match="ended a stream before its last image"):
        tries.part_ended()


@pytest.mark.parametrize(
    ("target", "address"),
    [
        ("localhost:50051", "localhost:50051"),
        ("localhost", "localhost:50051"),
        ("", "localhost:50051"),
        ("10.0.0.1", "10.0.0.1:50051"),
        ("::1", "[::1]:50051"),
        ("[::1]", "[::1]:50051"),
        ("[::1]:7", "[::1]:7"),
        ("dns:///generator:50051", "dns:///generator:50051"),
        ("unix:/run/dcgan.sock", "unix:/run/dcgan.sock"),
        ("127.0.0.1:1,127.0.0.2:2", "ipv4:127.0.0.1:1,127.0.0.2:2"),
        (" 127.0.0.1 , 127.0.0.2:2,", "ipv4:127.0.0.1:50051,127.0.0.2:2"),
        ("[::1]:1,[::1]:2", "ipv6:[::1]:1,[::1]:2"),
    ],
)
def test_targets_are_written_as_people_do(target: str, address: str) -> None:
    """Without a port gRPC would take that of HTTPS; a list of names it doesn't take at all."""
    assert channels.address_of(target) == address


def test_names_in_a_list_are_looked_up() -> None:
    """Every machine knows localhost."""
    assert channels.address_of("localhost:1,127.0.0.1:2") == "ipv4:127.0.0.1:1,127.0.0.1:2"


def test_an_unknown_name_in_a_list_is_named() -> None:
    """gRPC would wait for an address that never comes."""
    with pytest.raises(Unavailable, match=r"no address is known for nowhere\.invalid:50051"):
        channels.address_of("nowhere.invalid,localhost")


def test_addresses_of_two_families_are_refused() -> None:
    """A list of gRPC's has one."""
    with pytest.raises(Unavailable, match="neither IPv4 nor IPv6 in common"):
        channels.address_of("127.0.0.1:1,[::1]:2")
