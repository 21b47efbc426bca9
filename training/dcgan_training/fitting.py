"""Data sets as the model of a bundle draws them: of its size, and with its channels."""

import dataclasses
from pathlib import Path

import numpy as np

from dcgan.bundle.manifest import Manifest
from dcgan_training.data import Broken, Dataset, load
from dcgan_training.errors import DataError
from dcgan_training.values import SIZES


def fitting(path: Path, manifest: Manifest, broken: Broken = "refuse") -> Dataset:
    """Reads a data set for a model; grey images become RGB for one that draws colour.

    Args:
        path: of the images, as for `data.load`; they are cropped and resized to the model's size.
        manifest: of the model.
        broken: what to do about image files that can't be read.

    Raises:
        DataError: the images can't be read, have colour where the model draws none, or the model draws no squares.
    """
    image = manifest.image
    if image.height != image.width or image.height not in SIZES:
        sizes = ", ".join(map(str, SIZES))
        drawn = f"{manifest.name} draws images of {image.width}x{image.height}"
        raise DataError(path, f"can't be used: {drawn}; squares of {sizes} px are allowed")
    data = load(path, image.height, broken=broken)
    if data.channels > image.channels:
        raise DataError(path, f"has colour, but {manifest.name} draws grey images")
    if data.channels == image.channels:
        return data
    return dataclasses.replace(data, images=np.repeat(data.images, image.channels, axis=3))
