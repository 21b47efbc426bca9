"""The commands that run and check: serve, verify, rollback, health."""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dcgan.cli.output import say
from dcgan.errors import SettingsError

if TYPE_CHECKING:
    from dcgan.bundle.manifest import VariantSpec
    from dcgan.generator import Generator


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Adds a flag for every setting of the server."""
    with _server_packages():
        from dcgan import config
    config.add_arguments(parser)


def serve(arguments: argparse.Namespace) -> int:
    """Serves until a signal ends it."""
    # gRPC reads it when it is imported; its own lines, in another form, repeat what ours say
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    with _server_packages():
        from dcgan import config, server
    server.run(config.settings_from(arguments))
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Reads a bundle as a server would, draws its golden images on the CPU, and prints what was checked."""
    with _server_packages():
        from dcgan import bundle as bundles
        from dcgan.generator import Generator, parts_of
    bundle = bundles.load(bundles.locate(arguments.bundle))
    manifest = bundle.manifest
    size = sum(spec.size_bytes for spec in manifest.files.values())
    image = manifest.image
    generator = Generator(bundle, "cpu")
    parts = ", ".join(name.replace("_", " ") for name in parts_of(bundle, "cpu")) or "none"
    variants = [_verified_variant(Generator(bundle, "cpu", name), spec) for name, spec in manifest.variants.items()]
    exact = "byte for byte" if generator.golden_exact else "within the tolerance of the manifest"
    for line in (
        f"{bundle.path}: {manifest.name}, version {manifest.version}, digest {bundle.digest}",
        f"files: {len(manifest.files)} of {size:,} bytes, all of the size and sha256 that the manifest states",
        f"generator: float32 [n, {manifest.latent.dim}] to uint8 [n, {image.height}, {image.width}, {image.channels}], "
        f"opset {manifest.opset}",
        f"golden: {len(bundle.golden_images)} images reproduced {exact} on {generator.provider}",
        *variants,
        f"beside the generator: {parts}, each run on the golden images; {len(bundle.directions)} directions",
    ):
        say(line)
    return 0


def _verified_variant(generator: "Generator", spec: "VariantSpec") -> str:
    return (
        f"variant {generator.variant}: golden images within tolerance on {generator.provider}; on {spec.sample_count} "
        f"samples {spec.mean_levels:.3f} grey levels off in the mean and {spec.max_levels} at most"
    )


def rollback(arguments: argparse.Namespace) -> int:
    """Withdraws the newest version in a model directory; servers that watch it go back to the one before."""
    with _server_packages():
        from dcgan.bundle.versions import roll_back
    withdrawn, newest = roll_back(Path(arguments.directory))
    say(f"{newest.name} is the newest version in {newest.parent} now; what was newer is kept as {withdrawn}")
    return 0


def health(arguments: argparse.Namespace) -> int:
    """Prints the status of a server; 0 only for SERVING."""
    from dcgan.client.health import check

    status = check(arguments.target, timeout_s=arguments.timeout)
    say(status)
    return 0 if status == "SERVING" else 1


@contextmanager
def _server_packages() -> Iterator[None]:
    """Says what to install where a package of the server is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "dcgan":
            raise
        raise SettingsError(
            f"the package {error.name} is not installed; a server needs dcgan[cpu], or dcgan[gpu] with an NVIDIA GPU: "
            "pip install 'dcgan[cpu]'"
        ) from error
