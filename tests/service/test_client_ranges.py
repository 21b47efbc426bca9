"""Ranges drawn side by side: order, a bounded window, servers that are slow, fail, come back, or say no."""

import threading
from itertools import count

import pytest

from dcgan.client import ranges
from dcgan.client.ranges import STREAMS, drawn
from dcgan.client.results import Identity, Samples
from dcgan.errors import InvalidField, Overloaded, Unavailable

RANGES = [range(at, at + 3) for at in range(0, 300, 3)]
EXPECTED = [[b"%d" % number for number in numbers] for numbers in RANGES]
IDENTITY = Identity("linear", "1", "", "float32", "CPUExecutionProvider", "1")


def images(numbers):
    """Draws a range at once, one image a chunk."""
    for number in numbers:
        yield Samples(IDENTITY, (1, 1, 1), None, encoded=(b"%d" % number,))


def failing(error):
    """Makes a server that raises."""

    def draw(_):
        raise error

    return draw


def all_of(servers, notes=None, patience_s=30.0):
    """Draws all ranges."""
    note = (lambda _: None) if notes is None else notes.append
    with drawn(servers, iter(RANGES), patience_s, note) as parts:
        return list(parts)


def test_several_servers_draw_all_in_order():
    """Each range once for the reader, whoever drew it."""
    assert all_of({"a": images, "b": images, "c": images}) == EXPECTED


def test_nobody_draws_far_ahead_of_the_reader():
    """Which bounds memory."""
    begun = []

    def counted(numbers):
        begun.append(numbers)
        return images(numbers)

    with drawn({"a": counted}, iter(RANGES), 30.0, print) as parts:
        for taken, _ in enumerate(parts):
            assert len(begun) <= taken + 1 + STREAMS * ranges._AHEAD
    assert sorted(begun, key=lambda one: one.start) == RANGES


def test_a_server_that_hangs_holds_nobody_up():
    """What it should have drawn, another one draws."""
    leave = threading.Event()

    def hanging(numbers):
        yield next(images(numbers))
        leave.wait()

    with drawn({"slow": hanging, "fast": images}, iter(RANGES), 30.0, print) as parts:
        assert list(parts) == EXPECTED
    leave.set()


def test_a_server_that_is_lost_is_named_and_taken_back(monkeypatch):
    """Once each, though it has several streams."""
    monkeypatch.setattr(ranges, "_ASK_AGAIN_S", 0.01)
    failures, back, notes = [], threading.Event(), []

    def flaky(numbers):
        if len(failures) < STREAMS:
            failures.append(numbers)
            raise Unavailable("it is gone")
        back.set()
        yield from images(numbers)

    def waiting(numbers):
        if numbers.start > 200:
            back.wait()
        yield from images(numbers)

    assert all_of({"flaky": flaky, "steady": waiting}, notes) == EXPECTED
    assert notes[0] == "goes on without flaky: it is gone"
    assert set(notes) <= {notes[0], "flaky is back"}


def test_where_all_servers_fail_so_does_the_reader():
    """With what the last one said."""
    with pytest.raises(Unavailable, match="it is gone"):
        all_of({name: failing(Unavailable("it is gone")) for name in "ab"})


@pytest.mark.parametrize("error", [InvalidField("seeds.truncation", 9, "up to 8"), KeyError("a defect")])
def test_an_error_that_all_would_give_ends_it_at_once(error):
    """The request's fault, or ours; though another server draws."""
    asked = threading.Event()

    def patient(numbers):
        assert asked.wait(30)
        yield from images(numbers)

    def raising(_):
        asked.set()
        raise error

    with pytest.raises(type(error)):
        all_of({"a": patient, "b": raising})


def test_a_server_that_is_back_draws_on_when_the_other_one_goes(monkeypatch):
    """As when two are replaced one after the other, the second before the first was asked again."""
    monkeypatch.setattr(ranges, "_ASK_AGAIN_S", 0.2)
    a_failed, b_drew = threading.Event(), threading.Event()
    calls = count(1)

    def first(numbers):
        call = next(calls)
        if call == STREAMS:
            a_failed.set()
        if call <= STREAMS:
            raise Unavailable("a is replaced")
        yield from images(numbers)

    def second(numbers):
        if b_drew.is_set():
            raise Unavailable("b is replaced")
        assert a_failed.wait(30)
        b_drew.set()
        yield from images(numbers)

    assert all_of({"a": first, "b": second}) == EXPECTED


def test_a_server_with_a_full_queue_is_asked_again():
    """As long as patience lasts."""
    asked = []

    def full_at_first(numbers):
        asked.append(numbers)
        if len(asked) < 5:
            raise Overloaded("the queue is full", 0.01)
        yield from images(numbers)

    assert all_of({"a": full_at_first}) == EXPECTED
    with pytest.raises(Overloaded):
        all_of({"a": failing(Overloaded("the queue is full", 0.01))}, patience_s=0.05)
