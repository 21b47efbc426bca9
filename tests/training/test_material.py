import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from dcgan_training import run_directory
from dcgan_training.data import digest_of, load, split
from dcgan_training.distributed import World
from dcgan_training.material import Source, gather
from runs import SUBSET, settings

RANDOM = np.random.Generator(np.random.PCG64(11))


@pytest.mark.parametrize("own", [True, False], ids=["by hash", "a test set"])
def test_what_is_held_out_is_mapped_from_the_run(tmp_path: Path, own: bool) -> None:
    """Those of the data by their hash, or a test set whole; `Settings` says which."""
    test = tmp_path / "test.npy"
    np.save(test, RANDOM.integers(0, 256, (120, 28, 28), dtype=np.uint8))
    source = Source(data=SUBSET, size=None, broken="refuse", test_set=None if own else test)
    gathered = gather(source, tmp_path, World())
    run_directory.settle(tmp_path, settings(**gathered.facts), gathered.held_out)
    held_out = run_directory.held_out(tmp_path)
    data = load(SUBSET)
    np.testing.assert_array_equal(held_out, data.images[split(data.images).held_out] if own else load(test).images)
    assert not held_out.flags.owndata
    assert gathered.facts["held_out_count"] == len(held_out)
    assert gathered.facts["held_out_digest"] == digest_of(held_out)
    np.testing.assert_array_equal(np.load(tmp_path / "held_out.npy"), held_out)


def test_what_is_held_out_takes_no_memory(tmp_path: Path) -> None:
    """Of 24 MB of images no more than a few blocks of 4 MB are ever in memory."""
    np.save(tmp_path / "data.npy", RANDOM.integers(0, 256, (1_000, 128, 128, 3), dtype=np.uint8))
    source = Source(data=tmp_path / "data.npy", size=None, broken="refuse", test_set=None)
    tracemalloc.start()
    try:
        gathered = gather(source, tmp_path, World())
        run_directory.settle(tmp_path, settings(**gathered.facts), gathered.held_out)
        held_out = run_directory.held_out(tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held_out.nbytes == 500 * 128 * 128 * 3
    assert peak < 16 << 20
