"""The graphs of a bundle on a device: the generator, which draws images, and the parts that look at them.

`sessions` opens graphs by ONNX Runtime, `parts` are the discriminator, the encoder and the generator's gradient.
Here is the generator, which has to reproduce the golden images of its bundle.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from dcgan.bundle import Bundle, variant_file
from dcgan.bundle.graph import kind_of
from dcgan.bundle.manifest import Tolerance
from dcgan.errors import BundleError
from dcgan.generator.parts import Part, PartName, parts_of
from dcgan.generator.sessions import CPU, CUDA, RUNTIME_VERSION, Array, Device, Session, rows_per_s
from dcgan.latents import Floats32

__all__ = [
    "CPU",
    "CUDA",
    "RUNTIME_VERSION",
    "Array",
    "Device",
    "Generator",
    "Images",
    "Part",
    "PartName",
    "levels_apart",
    "parts_of",
]

Images: TypeAlias = NDArray[np.uint8]


class Generator:
    """A generator on a device that has reproduced the golden images of its bundle.

    Args:
        bundle: whose generator it is.
        device: to run it on.
        variant: the form to run; a faster one may be off by its own error on top of the tolerance.

    Attributes:
        variant: the form that runs.
        provider, threads, largest_batch: as of its `Session`.
        rows_per_s: images a second of one thread in batches of that size, as measured at the start.
        golden_exact: whether the golden images came out byte for byte; if not, they were within tolerance.

    Raises:
        BundleError: the bundle has no such variant, or it doesn't give the golden images.
        DeviceError: the device can't be used.
    """

    def __init__(self, bundle: Bundle, device: Device = "auto", variant: str = "float32") -> None:
        self._file, self._allowed = bundle.path / variant_file(variant), _allowed(bundle, variant)
        self._session = Session(bundle.generator_as(variant), self._file, device)
        self.variant = variant
        self._kinds = {"images": kind_of("images", bundle.manifest)}
        self.provider, self.threads = self._session.provider, self._session.threads
        self.largest_batch = self._session.largest_batch
        self._warm_up(bundle)
        self.golden_exact = self._reproduces_golden(bundle)
        zeros = np.zeros((self.largest_batch, bundle.manifest.latent.dim), np.float32)
        self.rows_per_s = rows_per_s(lambda: self.lend(zeros), self.largest_batch)

    def run(self, latents: Floats32) -> Images:
        """Draws one image for each latent.

        Args:
            latents: float32 (n, dim), C order, n at least 1.

        Returns:
            uint8 (n, height, width, channels). The same bytes for the same latent, whatever n is, on a CPU.
        """
        images: Images = self._session.run({"latents": latents})["images"]
        return images

    def lend(self, latents: Floats32) -> Images:
        """Draws at most `largest_batch` images as `run` does, but only lends them: see `Session.lend`."""
        images: Images = self._session.lend({"latents": latents})["images"]
        return images

    def _reproduces_golden(self, bundle: Bundle) -> bool:
        """Runs the golden latents; refuses the bundle where the images are further off than it allows."""
        images = self._session.checked({"latents": bundle.golden_latents}, self._kinds)["images"]
        if np.array_equal(images, bundle.golden_images):
            return True
        largest, mean = levels_apart(images, bundle.golden_images)
        allowed = self._allowed
        if largest > allowed.max_levels or mean > allowed.mean_levels:
            raise BundleError(
                self._file,
                f"doesn't give the golden images on {self.provider}: off by {largest} grey levels at most and "
                f"{mean:.3f} in the mean, where {allowed.max_levels} and {allowed.mean_levels:.3f} are allowed",
            )
        return False

    def _warm_up(self, bundle: Bundle) -> None:
        """Runs each batch size that will occur on a GPU, so that no request pays for the first run.

        Largest first, and before all else, so that the others fit into the memory that it took.
        """
        for size in self._session.batch_sizes:
            zeros = np.zeros((size, bundle.manifest.latent.dim), np.float32)
            self._session.checked({"latents": zeros}, self._kinds)


def levels_apart(images: Images, others: Images) -> tuple[int, float]:
    """Compares images of one shape: the largest and the mean difference of their pixels, in grey levels of 255."""
    levels = np.abs(images.astype(np.int16) - others)
    return int(levels.max()), float(levels.mean())


def _allowed(bundle: Bundle, variant: str) -> Tolerance:
    """Says how far golden images may be off: by the device and, where a faster form draws them, by that form."""
    device, own = bundle.manifest.golden, bundle.manifest.variants.get(variant)
    if own is None:
        return device
    return Tolerance(
        max_levels=min(255, device.max_levels + own.max_levels),
        mean_levels=min(255.0, device.mean_levels + own.mean_levels),
    )
