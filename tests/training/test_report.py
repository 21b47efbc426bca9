import re
from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dcgan import images
from dcgan_training import report
from dcgan_training.errors import RunError
from dcgan_training.history import Alarm, Check, History, Reading
from dcgan_training.report.charts import Chart, Line, drawn, short
from dcgan_training.trainer import Losses
from runs import settings

LOSSES = Losses(0.8, 2.0, 0.8, 0.2, 3.0, 0.5, 0.5)
CHECK = Check(0.9, 0.0, 0.5, 0.7, 0.6, 0.1, 3.5)


def run(directory: Path, count: int = 20, **changes: object) -> Path:
    """Makes the directory of a run of `count` readings, checks and grids."""
    chosen = settings(images=1_000_000, **changes)
    chosen.save(directory / "config.json")
    history = History.open(directory, 0)
    (directory / "samples").mkdir()
    (directory / "best").mkdir()
    (directory / "best" / "0.pt").touch()
    cells = np.random.default_rng(0).integers(0, 256, (100, 28, 28, 1), dtype=np.uint8)
    for number in range(1, count + 1):
        history.add(50_000 * number, Reading(replace(LOSSES, generator=2.0 + number), 4800.0))
        history.add(50_000 * number, replace(CHECK, frechet_distance=3.0 / number))
        png = images.encode(images.grid(cells, 10), "png")
        (directory / "samples" / f"{50_000 * number:012d}.png").write_bytes(png)
    return directory


def test_the_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    """No script, no address, no file beside it: it can be mailed."""
    page = report.write(run(tmp_path), 1_000_000).read_text()
    assert "<script" not in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "http" not in page
    assert "$" not in page


def test_it_shows_curves_grids_settings_and_a_verdict(tmp_path: Path) -> None:
    """Six charts; the corners of eight grids and the last one whole."""
    page = report.write(run(tmp_path), 1_000_000).read_text()
    assert page.count("<svg") == 6
    assert page.count("<img") == 9
    assert "Complete, and no alarm is on: the samples are 90% as diverse as real images" in page
    assert "Its best checkpoint is that after 1,000,000 images" in page
    for name in ("Fréchet distance", "Gradient norms", "Discriminator&#x27;s output", "learning_rate", "0.0002"):
        assert name in page


def test_a_best_checkpoint_that_is_not_there_is_not_spoken_of(tmp_path: Path) -> None:
    """Weights that are no longer finite are measured, but not kept."""
    (run(tmp_path) / "best" / "0.pt").unlink()
    assert "best checkpoint" not in report.write(tmp_path, 1_000_000).read_text()


def test_grids_over_time_are_the_same_latents(tmp_path: Path) -> None:
    """Four by four of the hundred, from the first to the last."""
    page = report.write(run(tmp_path), 1_000_000).read_text()
    pngs = [images.decode(b64decode(text)) for text in re.findall(r"base64,([^\"]+)", page)]
    assert {png.shape for png in pngs[:8]} == {(122, 122, 1)}
    assert pngs[8].shape == (302, 302, 1)
    assert re.findall(r"<figcaption>([\d,]+) images", page)[::7] == ["50,000", "1,000,000"]


def test_damaged_grids_are_left_out_and_named(tmp_path: Path) -> None:
    """A page with a gap is worth more than none: training writes one with each checkpoint."""
    samples = run(tmp_path, 4) / "samples"
    torn, empty, tiny, last = (samples / f"{50_000 * number:012d}.png" for number in (1, 2, 3, 5))
    torn.write_bytes(torn.read_bytes()[:200])
    empty.write_bytes(b"")
    tiny.write_bytes(images.encode(np.zeros((1, 1, 1), np.uint8), "png"))
    last.mkdir()
    (samples / "1 copy.png").write_bytes(b"somebody's")
    page = report.write(tmp_path, 200_000).read_text()
    assert f"damaged, and left out: {torn.name}, {empty.name}, {tiny.name}, {last.name}<" in page
    assert re.findall(r"<figcaption>([^<]+)</figcaption>", page) == ["200,000 images", "all 100 after 200,000 images"]
    (samples / f"{200_000:012d}.png").write_bytes(b"")
    assert "<img" not in report.write(tmp_path, 200_000).read_text()


def test_an_alarm_is_told_and_marked(tmp_path: Path) -> None:
    """In the verdict while it is on, with its message, as a line in each chart; and nothing in it is taken for HTML."""
    history = History.open(run(tmp_path, 8), 400_000)
    for number in range(9, 12):
        history.add(50_000 * number, replace(CHECK, diversity=0.1))
    history.add(550_000, Alarm("collapse", "the samples <collapse>"))
    page = report.write(tmp_path, 550_000).read_text()
    assert "The samples have collapsed. Its best checkpoint is that after 400,000 images." in page
    assert "the samples &lt;collapse&gt;" in page
    assert page.count('class="alarm"') == 6


@pytest.mark.parametrize("objective", ["hinge", "relativistic"])
def test_the_gap_is_shown_where_outputs_mean_nothing(tmp_path: Path, objective: str) -> None:
    """A half is no equilibrium there."""
    page = report.write(run(tmp_path, objective=objective), 1_000_000).read_text()
    assert "<b>Gap</b>" in page
    assert "0.5 on both is equilibrium" not in page


def test_a_run_that_has_measured_nothing_has_a_page(tmp_path: Path) -> None:
    """Saved before the first reading, or made by an older version."""
    settings(images=1_000_000).save(tmp_path / "config.json")
    page = report.write(tmp_path, 0).read_text()
    assert "nothing measured yet" in page
    assert "no samples yet" in page


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    """As by every command that reads one."""
    with pytest.raises(RunError, match="no run is here"):
        report.write(tmp_path, 0)


@pytest.mark.parametrize("values", [[1.0], [0.0, 0.0], [1e-9, 1e9], [float("nan"), 2.0], [float("inf")], [-5.0, 5.0]])
def test_any_values_can_be_drawn(values: list[float]) -> None:
    """One, equal ones, many magnitudes, none that is finite: no division by zero, and no point outside the frame."""
    line = Line("name", [(number * 1000, value) for number, value in enumerate(values)])
    svg = drawn(Chart("Title", "note", [line]), 1000, best=500, alarms=[700])
    assert "nan" not in svg.replace("name", "")
    for points in re.findall(r"points=\"([^\"]+)\"", svg):
        for x, y in (map(float, point.split(",")) for point in points.split()):
            assert 0 <= x <= 360
            assert 0 <= y <= 190


def test_long_lines_are_thinned_to_means() -> None:
    """A hundred thousand readings make no page of megabytes."""
    line = Line("name", [(number, float(number % 2)) for number in range(100_000)])
    svg = drawn(Chart("Title", "note", [line]), 100_000)
    assert svg.count(",") < 400


@pytest.mark.parametrize("total", [100, 1_000, 12_500_000, 400_000, 7_500_000, 10**11])
def test_labels_lie_within_the_chart(total: int) -> None:
    """Also that of the last tick, which stands under the frame's edge; 7 px is a wide digit of 10.5 px."""
    svg = drawn(Chart("Title", "note", [Line("name", [(0, 0.0), (total, 1.0)])]), total)
    labels = re.findall(r'<text x="([\d.]+)" y="[\d.]+" text-anchor="middle">([^<]+)<', svg)
    assert len(labels) >= 3
    for x, text in labels:
        assert float(x) - 3.5 * len(text) >= 0
        assert float(x) + 3.5 * len(text) <= 360


def test_numbers_are_short() -> None:
    """For the axes."""
    assert [short(value) for value in (1_500_000, 250_000, 0.05, 12, 0)] == ["1.5M", "250k", "0.05", "12", "0"]
