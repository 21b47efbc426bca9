"""The generator on this machine's CPU, and the device policy."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from dcgan import bundle as bundles
from dcgan.cgroup import cgroup_quota, free_memory_bytes, usable_cores
from dcgan.errors import DeviceError
from dcgan.generator import CUDA, Generator
from dcgan.generator.sessions import rows_per_s
from dcgan.latents import draw


def test_the_same_latent_gives_the_same_bytes_in_any_batch():
    """On the bundled model, for batches of 1 to 256 and two threads at once."""
    bundle = bundles.load(bundles.locate("fashion"))
    generator = Generator(bundle, "cpu")
    latents = draw(0, np.arange(256), bundle.manifest.latent.dim, bundle.manifest.latent.prior)
    alone = np.concatenate([generator.run(latents[at : at + 1]) for at in range(0, 256, 16)])

    def together(size: int) -> np.ndarray:
        return np.concatenate([generator.run(latents[at : at + size]) for at in range(0, 256, size)])[::16]

    with ThreadPoolExecutor(2) as pool:
        for images in pool.map(together, [2, 3, 7, 16, 17, 64, 255, 256]):
            np.testing.assert_array_equal(images, alone)


def test_the_same_latent_gives_the_same_bytes_in_50_random_compositions():
    """Whatever stands beside it, at any place, in batches of any size that two threads run at once."""
    bundle = bundles.load(bundles.locate("fashion"))
    generator = Generator(bundle, "cpu")
    chooser = np.random.default_rng(0)
    latent = draw(7, [3], 100, "normal")[0]
    alone = generator.run(latent[None])[0]

    def composed(seed: int) -> np.ndarray:
        random = np.random.default_rng(seed)
        batch = random.normal(scale=random.choice([0.0, 1.0, 1e3]), size=(random.integers(1, 65), 100))
        place = random.integers(len(batch))
        batch[place] = latent
        return generator.run(batch.astype(np.float32))[place]

    with ThreadPoolExecutor(2) as pool:
        for image in pool.map(composed, chooser.integers(1 << 32, size=50)):
            np.testing.assert_array_equal(image, alone)


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="this onnxruntime has CUDA")
def test_cuda_without_a_gpu_refuses_and_says_what_to_install(bundle):
    """The operator asked for a GPU; a silent fall to the CPU would be found at the first overload."""
    with pytest.raises(DeviceError, match=r"install dcgan\[gpu\]"):
        Generator(bundles.load(bundle), "cuda")


def test_auto_takes_what_there_is_and_says_so(bundle):
    """The provider is read back from the session."""
    generator = Generator(bundles.load(bundle), "auto")
    assert generator.provider in onnxruntime.get_available_providers()
    assert generator.golden_exact


def test_a_machine_that_stalls_while_it_is_measured_changes_no_pace():
    """For it decides which calls are taken, until enough batches have told better."""
    stalls_s = iter([0.5, 0.0, 0.5])

    def run(latents: np.ndarray) -> np.ndarray:
        time.sleep(next(stalls_s))
        return np.zeros((len(latents), 6, 5, 3), np.uint8)

    assert rows_per_s(lambda: run(np.zeros((16, 8), np.float32)), 16) > 16 / 0.4


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_a_container_is_read(tmp_path: Path, files, cores):
    """From cgroup version 2 and version 1, and where there is none."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cgroup_quota(tmp_path) == cores


def test_at_least_one_core_is_usable():
    """Whatever the quota."""
    assert usable_cores() >= 1


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({"memory.max": "1000\n", "memory.current": "700\n", "memory.stat": "anon 1\ninactive_file 50\n"}, 350),
        ({"memory.max": "max\n", "memory.current": "700\n", "memory.stat": "inactive_file 50\n"}, 2048),
        (
            {
                "memory/memory.limit_in_bytes": "1000",
                "memory/memory.usage_in_bytes": "400",
                "memory/memory.stat": "total_inactive_file 100\n",
            },
            700,
        ),
        ({}, 2048),
    ],
)
def test_free_memory_is_the_containers_where_it_has_a_limit(tmp_path: Path, files, free):
    """From cgroup version 2 and version 1, and the machine's where there is none; None where nothing is told."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:       2 kB\n")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert free_memory_bytes(tmp_path, meminfo) == free
    assert free_memory_bytes(tmp_path / "none", tmp_path / "none") is None
