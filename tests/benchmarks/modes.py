"""Modes of stacked digits where the discriminator is a quarter of the generator: that the count can fail, and a cure.

PacGAN's harder setting (Lin et al., 2018, arXiv:1712.04086, table 3: plain DCGAN found 78 modes, packed by four 667):
the same generator against a discriminator of a quarter of its width, plain, packed and with minibatch discrimination.

    python tests/benchmarks/modes.py --digits ../shared/data/mnist --images 1500000 --runs runs/modes
"""

import argparse
from pathlib import Path

from dcgan_training.cli import main as dcgan_train

STACKS = 128_000
TEST_STACKS = 10_000
COMPARED = {
    "plain": ("dcgan", []),
    "packed by 2": ("packed", []),
    "packed by 4": ("packed", ["packing=4"]),
    "minibatch": ("minibatch", []),
}


def main() -> None:
    """Trains and counts, one after the other; `dcgan-train evaluate` prints each table."""
    options = parsed()
    stacks, test = options.runs / "stacked.npy", options.runs / "stacked-test.npy"
    options.runs.mkdir(parents=True, exist_ok=True)
    for file, digits, count in (
        (stacks, options.digits, STACKS),
        (test, options.digits / "t10k-images-idx3-ubyte.gz", TEST_STACKS),
    ):
        if not file.exists():
            call("stack", digits, "--count", count, "--output", file)
    for title, (recipe, settings) in COMPARED.items():
        if options.only and title not in options.only:
            continue
        run = options.runs / title.replace(" ", "-")
        width = ["--width", options.width, "--set", f"discriminator_width={max(1, options.width // 4)}"]
        more = [part for setting in settings for part in ("--set", setting)]
        call("train", "--recipe", recipe, "--data", stacks, "--held-out", test, "--output", run, *width, *more,
             "--images", options.images, "--seed", options.seed, "--threads", 1)  # fmt: skip
        bundle = run.with_name(f"{run.name}.bundle")
        if not bundle.exists():
            call("export", run, "--output", bundle, "--checkpoint", "newest")
        print(f"\n{title}, seed {options.seed}, {options.images:,} images", flush=True)
        call("evaluate", bundle, "--data", stacks, "--held-out", test, "--stacked-digits", options.digits)


def call(*command: object) -> None:
    """Runs a command of `dcgan-train`; ends with its exit code where that isn't 0."""
    code = dcgan_train([str(part) for part in command])
    if code != 0:
        raise SystemExit(code)


def parsed() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--digits", type=Path, required=True)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--images", type=int, default=1_500_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=sorted(COMPARED))
    parser.add_argument("--runs", type=Path, default=Path("runs/modes"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
