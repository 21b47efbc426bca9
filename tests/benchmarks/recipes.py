"""The recipes against collapse beside the plain one: at equal images, and at equal time on a core.

Speeds are measured first, in turns, on an idle machine; then each recipe trains for as many images as it shows in the
given minutes, on each seed. Runs are kept and continued, so that the table can be made again. What is compared is what
the watch measured: the Fréchet distance and the coverage of the averaged generator against held-out images, in
label-free features.

    python tests/benchmarks/recipes.py --data ../shared/data/fashion-mnist --minutes 10 --runs runs/recipes
"""

import argparse
import itertools
import json
import shutil
import statistics
import time
from pathlib import Path

from dcgan_training import history, recipes
from dcgan_training.choices import chosen
from dcgan_training.cli import main as dcgan_train
from dcgan_training.data import load
from dcgan_training.history import Check
from dcgan_training.inspection.speed import measured
from dcgan_training.machine import Machine

NAMES = ("dcgan", "minibatch", "packed", "strong")
SEEDS = (1, 2, 3)
ROUNDS = 3  # of measuring speeds


def main() -> None:
    """Measures, trains, prints the table."""
    options = parsed()
    speeds = measured_speeds(options)
    images = {name: int(speed * 60 * options.minutes) for name, speed in speeds.items()}
    for seed, name in itertools.product(options.seeds, NAMES):
        train(options, name, seed, images[name])
    fewest = min(images.values())
    print(f"{options.data.name}, width {options.width}, {options.minutes:g} minutes on one idle core\n")
    print(
        "| recipe | images/s | images in that time | distance then | coverage | distance at equal images | coverage |"
    )
    print("| --- | ---: | ---: | :--- | :--- | :--- | :--- |")
    for name in NAMES:
        runs = [options.runs / f"{name}-{seed}" for seed in options.seeds]
        print(
            f"| {name} | {speeds[name]:,.0f} | {images[name]:,} | {cells(runs, images[name])} | {cells(runs, fewest)} |"
        )
    if options.traces is not None:
        options.traces.mkdir(parents=True, exist_ok=True)
        for seed, name in itertools.product(options.seeds, NAMES):
            shutil.copyfile(options.runs / f"{name}-{seed}" / history.FILE, options.traces / f"{name}-{seed}.jsonl")


def measured_speeds(options: argparse.Namespace) -> dict[str, float]:
    """Gives the median images/s of each recipe; measured once and kept beside the runs."""
    file: Path = options.runs / "speeds.json"
    if file.exists():
        kept: dict[str, float] = json.loads(file.read_text())
        return kept
    machine = Machine.choose("auto", "auto", 1)
    images = load(options.data, options.size).images
    found: dict[str, list[float]] = {name: [] for name in NAMES}
    for _, name in itertools.product(range(ROUNDS), NAMES):
        recipe = chosen(recipes.named(name), [], width=options.width)
        found[name].append(measured(recipe, images, machine).images_per_s)
    speeds = {name: statistics.median(each) for name, each in found.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(speeds, indent=2))
    return speeds


def train(options: argparse.Namespace, name: str, seed: int, images: int) -> None:
    """Trains one run to its end, or finds it there."""
    began = time.monotonic()
    command = ["train", "--recipe", name, "--data", str(options.data), "--output", str(options.runs / f"{name}-{seed}")]
    command += ["--width", str(options.width), "--seed", str(seed), "--threads", "1", "--images", str(images)]
    if options.size is not None:
        command += ["--size", str(options.size)]
    code = dcgan_train(command)
    if code != 0:
        raise SystemExit(code)
    print(f"{name} seed {seed}: {images:,} images, {time.monotonic() - began:.0f} s", flush=True)


def cells(runs: list[Path], images: int) -> str:
    """Gives two cells: the mean and the range of distance and coverage over seeds, at the last check up to `images`."""
    found = [last_check(run, images) for run in runs]
    return " | ".join(
        f"{statistics.mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"
        for values, digits in (([c.frechet_distance for c in found], 1), ([c.coverage for c in found], 2))
    )


def last_check(run: Path, images: int) -> Check:
    """Gives what the watch measured last before so many images and a step were seen."""
    checks = [record for record in history.read(run) if isinstance(record.what, Check)]
    near = [record for record in checks if record.images <= images + 128] or checks[:1]
    what = near[-1].what
    assert isinstance(what, Check)
    return what


def parsed() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--size", type=int)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--runs", type=Path, default=Path("runs/recipes"))
    parser.add_argument("--traces", type=Path, help="copies the histories there, to be replayed by a test")
    return parser.parse_args()


if __name__ == "__main__":
    main()
