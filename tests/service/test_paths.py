"""Paths through latents."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcgan.latents import Path, draw, mixed
from dcgan.latents.paths import way
from strategies import vectors

DIM = 6
curves = st.sampled_from(["linear", "spherical"])
easings = st.sampled_from(["linear", "smooth"])


@st.composite
def paths(draw_one):
    """Paths of 2 to 5 points, zero, equal and opposite ones among them, and 1 to 60 frames."""
    points = draw_one(st.lists(vectors(DIM), min_size=2, max_size=4))
    if draw_one(st.booleans()):
        points.append(-points[-1])
    frame_count = draw_one(st.integers(1, 60))
    return Path(
        np.array(points), frame_count, draw_one(curves), closed=draw_one(st.booleans()), easing=draw_one(easings)
    )


@given(paths(), st.integers(1, 17))
def test_frames_don_t_depend_on_chunks(path, size):
    """Whole, or in pieces of any size: the same bytes."""
    whole = path.frames(0, path.frame_count)
    pieces = [path.frames(at, min(size, path.frame_count - at)) for at in range(0, path.frame_count, size)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    assert np.isfinite(whole).all()


@given(paths())
def test_an_open_path_has_inclusive_ends(path):
    """Its first frame is its first point and, with two frames or more, its last is its last."""
    frames = path.frames(0, path.frame_count)
    np.testing.assert_array_equal(frames[0], path.points[0])
    if not path.closed and path.frame_count > 1:
        np.testing.assert_array_equal(frames[-1], path.points[-1])


@given(st.lists(vectors(DIM), min_size=2, max_size=5), st.integers(1, 9), curves, easings, st.booleans())
def test_a_path_passes_through_its_points_exactly(points, between, curve, easing, closed):
    """With a whole number of frames between points, every point is a frame."""
    count = between * len(points) if closed else between * (len(points) - 1) + 1
    frames = Path(np.array(points), count, curve, closed, easing).frames(0, count)
    np.testing.assert_array_equal(frames[::between], points)


@given(vectors(DIM), vectors(DIM), st.booleans(), curves)
def test_a_way_begins_and_ends_with_one_end_alone(a, b, opposite, curve):
    """Weights of exactly 1 and 0: no sine, no division shows."""
    ends = a.astype(np.float64), -a.astype(np.float64) if opposite else b.astype(np.float64)
    route = way(*ends, curve)
    assert (route.weights(0.0), route.weights(1.0)) == ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


@given(st.integers(0, 2**32), st.floats(0, 1))
def test_the_great_circle_keeps_the_length(seed, t):
    """Between two ends of one length every point has that length."""
    a, b = draw(seed, [0, 1], 50, "normal")
    b *= np.linalg.norm(a) / np.linalg.norm(b)
    way = mixed(a[None], b[None], np.array([t]), "spherical")[0]
    assert np.linalg.norm(way) == pytest.approx(np.linalg.norm(a), rel=1e-5)


@given(vectors(DIM).filter(lambda v: np.linalg.norm(v) > 0.1), st.floats(0.01, 0.99))
def test_opposite_ends_have_a_way_around_the_centre(a, t):
    """It keeps its distance from zero, where every picture is the same, and always takes the same side."""
    way = [mixed(a[None], -a[None], np.array([t]), "spherical")[0] for _ in range(2)]
    assert np.linalg.norm(way[0]) == pytest.approx(np.linalg.norm(a), rel=1e-4)
    np.testing.assert_array_equal(way[0], way[1])


@given(vectors(DIM), st.floats(0, 1), curves)
def test_equal_ends_stay_where_they_are(a, t, curve):
    """No division by the sine of nothing."""
    np.testing.assert_allclose(mixed(a[None], a[None], np.array([t]), curve)[0], a, rtol=1e-6, atol=1e-6)


def test_smooth_easing_is_slow_at_the_points():
    """The first step of a smooth path is shorter than that of a linear one, the middle is the same."""
    points = np.array([[0.0], [1.0]], np.float32)
    linear, smooth = (Path(points, 11, "linear", easing=easing).frames(0, 11)[:, 0] for easing in ("linear", "smooth"))
    assert smooth[1] < linear[1]
    assert smooth[5] == linear[5] == 0.5
