"""Features by name: what `--features` may be, and what stands in the key of a figure.

random          `features.RandomFeatures`: the same for ever, no labels needed
classifier      of a classifier trained on the labels; its name has the start of the labels' sha256, for other labels
                give other features
FILE.onnx       of a network that the user brings, as for the FID of the papers; its name has the start of its sha256

Such a graph has one input of four dimensions, the first one free: uint8 [n, height, width, channels], pixels as they
are; or float32 [n, channels, height, width] in [0, 1], as torchvision's ToTensor gives them. Its first output is
float, n rows of any shape, which are flattened. Resizing and normalising belong into the graph: where it says how high
and wide its input is, the model's images must be so; grey ones become RGB for a graph that takes three channels.
"""

import hashlib
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from dcgan.generator.sessions import Session
from dcgan.images import Pixels
from dcgan.latents import Floats32
from dcgan_training.batches import batches
from dcgan_training.classifier import Classifier
from dcgan_training.errors import DataError

RANDOM: Final = "random"
CLASSIFIER: Final = "classifier"
_DIGITS: Final = 12  # of a sha256, in a name


class Extractor(Protocol):
    """Images to features."""

    @property
    def name(self) -> str:
        """What stands in the keys of figures."""

    def __call__(self, images: Pixels) -> Floats32:
        """Gives float32 (n, d) for uint8 (n, size, size, channels)."""


class ClassifierFeatures:
    """The features of a classifier of the data's labels, read from `labels`."""

    def __init__(self, network: Classifier, labels: Path) -> None:
        self._network = network
        self.name = f"classifier-{digest(labels)}"

    def __call__(self, images: Pixels) -> Floats32:
        """As for `Extractor`."""
        return self._network.look(images)[0]


class OnnxFeatures:
    """The features of a graph that the user brings.

    Raises:
        DataError: the file is no such graph, or takes other images than the model's.
        BundleError: ONNX Runtime can't load it.
    """

    def __init__(self, file: Path, size: int, channels: int) -> None:
        try:
            graph = file.read_bytes()
            model = onnx.load_model_from_string(graph)
        except OSError as error:
            raise DataError(file, error.strerror or str(error)) from error
        except DecodeError as error:
            raise DataError(file, "is no ONNX model") from error
        self.name = f"onnx-{digest(file)}"
        self._input, self._floats, wanted = _input_of(model, file)
        self._output = model.graph.output[0].name
        self._repeats = 3 if channels == 1 and wanted[2] == 3 else 1
        given = size, size, channels * self._repeats
        if any(want not in (0, have) for want, have in zip(wanted, given, strict=True)):
            raise DataError(
                file,
                f"takes images of (height, width, channels) {wanted}, but the model's are {given}; resize in the graph",
            )
        self._session = Session(graph, file, "auto")
        self._check(np.random.default_rng(0).integers(0, 256, (4, size, size, channels), np.uint8), file)

    def _check(self, noise: Pixels, file: Path) -> None:
        """Refuses, before anything is trained, a graph whose output can't be features."""
        found = self._session.run({self._input: self._given(noise)})[self._output]
        if found.ndim < 2 or len(found) != len(noise):
            raise DataError(
                file, f"gives an output of shape {found.shape} for {len(noise)} images; a row for each is needed"
            )
        if not np.isfinite(found).all() or (found == found[0]).all():
            raise DataError(
                file, "gives images of noise no finite values, or the same ones for all; no figure can be had"
            )

    def __call__(self, images: Pixels) -> Floats32:
        """As for `Extractor`."""
        return np.concatenate([self._look(batch) for batch in batches(images, self._session.largest_batch)])

    def _look(self, images: Pixels) -> Floats32:
        found = self._session.run({self._input: self._given(images)})[self._output]
        return found.reshape(len(images), -1).astype(np.float32)

    def _given(self, images: Pixels) -> Pixels | Floats32:
        """Lays images out as the graph takes them."""
        pixels = np.repeat(images, self._repeats, axis=3)
        if not self._floats:
            return pixels
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32) / np.float32(255)


def digest(file: Path) -> str:
    """Gives the start of a file's sha256."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:_DIGITS]


def _input_of(model: onnx.ModelProto, file: Path) -> tuple[str, bool, tuple[int, int, int]]:
    """Gives the name of the one input, whether it takes floats, and height, width and channels, 0 where free."""
    constants = {constant.name for constant in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    kinds = {int(onnx.TensorProto.UINT8): False, int(onnx.TensorProto.FLOAT): True}
    tensor = inputs[0].type.tensor_type if inputs else None
    if tensor is None or len(inputs) != 1 or tensor.elem_type not in kinds or len(tensor.shape.dim) != 4:
        raise DataError(
            file, "must take one input: uint8 [n, height, width, channels] or float32 [n, channels, height, width]"
        )
    sides = [dim.dim_value for dim in tensor.shape.dim[1:]]
    floats = kinds[tensor.elem_type]
    height, width, channels = (sides[1], sides[2], sides[0]) if floats else (sides[0], sides[1], sides[2])
    return inputs[0].name, floats, (height, width, channels)
