"""Makes a training collapse, on three seeds, and shows that the watch says so.

Prints Markdown and writes it to build/bench/collapse.md. Ends with 1 where a run raised no collapse alarm.

The fully connected recipe has no batch norm to keep its pictures apart. With Adam at fifty times its learning rate and
the momentum that the DCGAN paper warns of (beta1 0.9, arXiv:1511.06434, section 4), the discriminator runs away and the
generator draws one picture for most latents. Half a minute a seed on an idle core, on the whole of Fashion-MNIST as
`dcgan-train fetch fashion-mnist` gives it; on the shipped subset, the default, the collapse of seed 1 is at the limit.
Such a run may break out again, into pictures that are varied and worthless. Not every seed collapses: of the next three
4 doesn't (its discriminator wins, which is told), 5 and 6 do.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from dcgan_training import history
from dcgan_training.cli import main as dcgan_train
from dcgan_training.history import Alarm, Check, Record

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "build" / "bench" / "collapse.md"
SEEDS = (1, 2, 3)
RECIPE, WIDTH, IMAGES = "mlp-digits", 512, 300_000
SETTINGS = ("learning_rate=0.01", "beta1=0.9")
HEADER = (
    "| seed | alarm after images | diversity of the samples, of real images' | duplicates | s |\n"
    "| ---: | ---: | :--- | ---: | ---: |"
)


def main() -> int:
    """Runs every seed; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "tests" / "data" / "fashion-mnist-subset", metavar="PATH")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, metavar="N", help="(default: 1 2 3)")
    parser.add_argument("--traces", type=Path, metavar="DIR", help="keep the histories there (default: nowhere)")
    options = parser.parse_args()
    lines, quiet = [HEADER], []
    with tempfile.TemporaryDirectory() as place:
        for seed in options.seeds:
            began = time.monotonic()
            run = Path(place) / f"{RECIPE}-{seed}"
            train(run, options.data, seed)
            records = history.read(run)
            lines.append(row(seed, records, time.monotonic() - began))
            if not collapses(records):
                quiet.append(seed)
            if options.traces:
                options.traces.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(run / history.FILE, options.traces / f"{run.name}.jsonl")
    text = "\n".join(lines)
    print(text)
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(text + "\n")
    if quiet:
        print(f"no collapse was told of seed {', '.join(map(str, quiet))}", file=sys.stderr)
    return 1 if quiet else 0


def train(run: Path, data: Path, seed: int) -> None:
    """Trains as the command line does, warned of alarms but not stopped by them."""
    flags = ["--data", str(data), "--output", str(run), "--recipe", RECIPE, "--width", str(WIDTH)]
    flags += ["--images", str(IMAGES), "--save-every", "100000", "--seed", str(seed), "--threads", "1"]
    flags += [word for setting in SETTINGS for word in ("--set", setting)]
    if dcgan_train(["train", *flags, "--on-alarm", "warn", "--device", "cpu", "--precision", "float32"]) != 0:
        sys.exit(f"seed {seed}: the training failed")


def collapses(records: list[Record]) -> list[int]:
    """Gives the images seen at each collapse alarm."""
    return [record.images for record in records if isinstance(record.what, Alarm) and record.what.kind == "collapse"]


def row(seed: int, records: list[Record], seconds: float) -> str:
    """Gives a line of the table: the diversity at each check, the duplicates at the last."""
    checks = [record.what for record in records if isinstance(record.what, Check)]
    diversity = ", ".join(f"{check.diversity:.2f}" for check in checks)
    alarm = ", ".join(f"{images:,}" for images in collapses(records)) or "none"
    return f"| {seed} | {alarm} | {diversity} | {checks[-1].duplicates:.0%} | {seconds:.0f} |"


if __name__ == "__main__":
    sys.exit(main())
