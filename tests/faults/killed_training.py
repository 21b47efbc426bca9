"""Kills a training with SIGKILL at ten random instants and compares its end, bit for bit, with one that nobody killed.

python tests/faults/killed_training.py
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from runs import arguments, deterministic, kill, same_weights

IMAGES = 150_000  # more than are shown before the last kill
TIMES = 10


def main() -> None:
    """Says how often it was killed, and whether weights and history are the same."""
    with tempfile.TemporaryDirectory() as name:
        whole, killed = Path(name) / "whole", Path(name) / "killed"
        kill(arguments(whole, images=IMAGES), times=0)
        times = kill(arguments(killed, "--save-every", "2000", images=IMAGES), TIMES, longest_s=2.0)
        same = same_weights(whole, killed), deterministic(whole) == deterministic(killed)
        print(f"killed {times} times: weights the same {same[0]}, history the same {same[1]}")
        sys.exit(0 if all(same) and times == TIMES else 1)


if __name__ == "__main__":
    main()
