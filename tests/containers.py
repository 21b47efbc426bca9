"""The images of deploy/Dockerfile without a Docker engine: buildah builds them, runc runs them as Kubernetes does.

runc is the runtime below containerd. What is set here is what deploy/kubernetes asks for: the image's own user, a root
file system that is read-only, no capabilities, no new privileges, a network of its own, and a CPU limit by cgroup.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache/container"
CLIENT = [sys.executable, "-m", "dcgan"]
# As little of Debian 12 as Python and pip need, unpacked and not configured: it stands for the base, which no registry
# gives us here. It has less in it than python:3.11-slim-bookworm, and so no compiler either.
BASE_PACKAGES = "ca-certificates,coreutils,dash,findutils,libstdc++6,python3-pip"
PROGRAMS = {"buildah": "buildah", "mmdebstrap": "mmdebstrap", "runc": "runc", "nsenter": "util-linux"}


def install_programs() -> None:
    """Installs what builds and runs images, from Debian; skips where that can't be had."""
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if os.geteuid() != 0:
        pytest.skip("only root can build and run an image without a Docker engine")
    if missing and shutil.which("apt-get") is None:
        pytest.skip(f"{', '.join(missing)} can't be had: this system has no apt-get")
    if missing:
        with skipping(f"{', '.join(missing)} can't be had from Debian"):
            quietly("apt-get", "update")
            quietly("apt-get", "install", "--yes", "--no-install-recommends", *missing)


@contextmanager
def skipping(why: str) -> Iterator[None]:
    """Skips where a machine, and not what is under test, is what fails."""
    try:
        yield
    except AssertionError as error:
        pytest.skip(f"{why}: {str(error)[-300:]}")


class Images:
    """Builds images into a store below .cache, where what was downloaded stays too."""

    def __init__(self, run: Path) -> None:
        # without the option the store becomes a mount point, which `make clean` could not remove
        overlay = ["--storage-driver", "overlay", "--storage-opt", "overlay.skip_mount_home=true"]
        store = ["--root", str(CACHE / "store"), "--runroot", str(run), *overlay]
        temporary = CACHE / "tmp"  # also holds pip's cache, by the Dockerfile's --mount=type=cache
        temporary.mkdir(parents=True, exist_ok=True)
        self._buildah = ["env", f"TMPDIR={temporary}", "buildah", *store]

    def build(self, target: str) -> str:
        """Builds a target of the real Dockerfile on the base; gives the image's name."""
        name = f"localhost/dcgan:{target}"
        # the base has no certificates of its own, and those here may know a proxy's
        certificates = ["--volume", "/etc/ssl/certs:/etc/ssl/certs:ro"]
        with skipping("buildah can't build an image of bare files here"):
            base = self._base()
        dockerfile = ["--file", str(ROOT / "deploy/Dockerfile"), "--build-arg", f"BASE={base}"]
        self._build(name, *certificates, *dockerfile, "--target", target, str(ROOT))
        quietly(*self._buildah, "rmi", "--prune")  # what the name stood for before
        return name

    def config(self, image: str) -> dict[str, Any]:
        """Reads what an image says of how it is to be run."""
        inspected = json.loads(quietly(*self._buildah, "inspect", "--type", "image", image))
        config: dict[str, Any] = inspected["Docker"]["config"]
        return config

    @contextmanager
    def mounted(self, image: str) -> Iterator[Path]:
        """Mounts an image's root file system."""
        container = quietly(*self._buildah, "from", "--pull-never", image).strip()
        try:
            yield Path(quietly(*self._buildah, "mount", container).strip())
        finally:
            quietly(*self._buildah, "rm", container)

    def _base(self) -> str:
        name, archive = "localhost/base", CACHE / "base/bookworm.tar"
        if not archive.exists():
            archive.parent.mkdir(exist_ok=True)
            unfinished = archive.with_suffix(".unfinished.tar")
            include = ["--variant=extract", f"--include={BASE_PACKAGES}"]
            quietly("mmdebstrap", "--mode=root", *include, "bookworm", str(unfinished))
            unfinished.rename(archive)
        dockerfile = archive.parent / "Dockerfile"
        dockerfile.write_text(f"FROM scratch\nADD {archive.name} /\n")
        self._build(name, "--file", str(dockerfile), str(archive.parent))
        return name

    def _build(self, name: str, *arguments: str) -> None:
        # in Docker's format, since OCI's has no HEALTHCHECK
        options = ["--isolation", "chroot", "--format", "docker", "--tag", name]
        quietly(*self._buildah, "build", *options, *arguments)


@dataclass(frozen=True)
class Container:
    """A container that runs."""

    process: subprocess.Popen[str]
    runc: list[str]
    name: str

    def wait_for(self, event: str) -> dict[str, Any]:
        """Reads its log until an event; gives the event's line."""
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            said: dict[str, Any] = json.loads(line)  # whatever else is printed fails here
            if said["event"] == event:
                return said
        raise AssertionError(f"it ended before it said {event!r}:\n{''.join(lines)}")

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in the container, as the container's user."""
        return _ended([*self.runc, "exec", self.name, *command])

    def ask(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Runs a command of our `dcgan` in the container's network, outside of all else of it."""
        pid = json.loads(quietly(*self.runc, "state", self.name))["pid"]
        return _ended(["nsenter", f"--net=/proc/{pid}/ns/net", *CLIENT, *map(str, arguments)])

    def terminate(self) -> None:
        """Asks it to stop, as Kubernetes does."""
        quietly(*self.runc, "kill", self.name, "TERM")


@contextmanager
def running(
    config: dict[str, Any],
    rootfs: Path,
    bundle: Path,
    *,
    cores: float | None = None,
    models: Path | None = None,
    **environment: str,
) -> Iterator[Container]:
    """Runs an image as its config says, for as long as the context lasts.

    Args:
        config, rootfs: of `Images`.
        bundle: an empty directory, for runc.
        cores: the CPU limit.
        models: a directory mounted at /models, read-only.
        environment: variables set beside the image's.
    """
    runc = ["runc", "--root", str(bundle / "state")]
    quietly(*runc, "spec", "--bundle", str(bundle))
    spec = json.loads((bundle / "config.json").read_text())
    user, group = map(int, config["User"].split(":"))
    spec["root"] = {"path": str(rootfs), "readonly": True}
    spec["process"] |= {
        "args": config["Entrypoint"] + config["Cmd"],
        "capabilities": {},
        "cwd": config["WorkingDir"],
        "env": config["Env"] + [f"{name}={value}" for name, value in environment.items()],
        "noNewPrivileges": True,
        "terminal": False,
        "user": {"uid": user, "gid": group},
    }
    if models is not None:
        mount = {"destination": "/models", "source": str(models), "type": "bind", "options": ["bind", "ro"]}
        spec["mounts"].append(mount)
    if cores is not None:
        spec["linux"]["resources"]["cpu"] = {"quota": round(100_000 * cores), "period": 100_000}
    (bundle / "config.json").write_text(json.dumps(spec))
    name = f"dcgan-{os.getpid()}-{time.monotonic_ns()}"  # also its cgroup's, so unlike any other on this machine
    run = [*runc, "run", "--bundle", str(bundle), name]
    process = subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with process:
        try:
            yield Container(process, runc, name)
        finally:
            _ended([*runc, "delete", "--force", name])


def quietly(*command: str) -> str:
    """Runs a command that must succeed; gives what it prints, and shows its errors only where it fails."""
    ended = _ended(list(command))
    assert ended.returncode == 0, f"{' '.join(command)}:\n{ended.stdout[-4000:]}{ended.stderr[-4000:]}"
    return ended.stdout


def _ended(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
