"""Runs of a session whose inputs and outputs lie in memory taken once: a batch allocates nothing on the host."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from dcgan.generator.cuda import pinned

Array: TypeAlias = NDArray[Any]

_DTYPES: Final[dict[str, type[np.generic]]] = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}


class Bound:
    """A session whose inputs and outputs are bound to memory of its own, once for each size of batch.

    Batches are padded to the next size by whatever rows stood there before: a row doesn't see its neighbours, and what
    becomes of those that pad goes nowhere. For one thread at a time.

    Args:
        session: whose inputs and outputs state the shapes of their rows.
        batch_sizes: powers of two.
        device: where the inputs are to lie, "cuda" or "cpu"; outputs come to the host.
    """

    def __init__(self, session: onnxruntime.InferenceSession, batch_sizes: Sequence[int], device: str) -> None:
        self._session = session
        self._given = {value.name: _host(value, max(batch_sizes)) for value in session.get_inputs()}
        self._drawn = {value.name: _host(value, max(batch_sizes)) for value in session.get_outputs()}
        self._sizes = {size: self._bind(size, device) for size in batch_sizes}

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Runs a batch: arrays of n rows each, by name, n at most the largest size.

        Returns:
            The outputs by name, n rows each. They are lent: the next run writes over them.
        """
        count = len(next(iter(inputs.values())))
        size = 1 << (count - 1).bit_length()
        binding, on_device = self._sizes[size]
        for name, rows in inputs.items():
            given = self._given[name]
            np.copyto(given[:count], rows, casting="no")
            on_device[name].update_inplace(given[:size])
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()  # copies into pinned memory end when they end
        return {name: rows[:count] for name, rows in self._drawn.items()}

    def _bind(self, size: int, device: str) -> tuple[onnxruntime.IOBinding, dict[str, onnxruntime.OrtValue]]:
        binding = self._session.io_binding()
        on_device = {
            name: onnxruntime.OrtValue.ortvalue_from_shape_and_type((size, *rows.shape[1:]), rows.dtype.type, device)
            for name, rows in self._given.items()
        }
        for name, value in on_device.items():
            binding.bind_ortvalue_input(name, value)
        for name, rows in self._drawn.items():
            binding.bind_ortvalue_output(name, onnxruntime.OrtValue.ortvalue_from_numpy(rows[:size]))
        return binding, on_device


def _host(value: Any, count: int) -> Array:
    """Takes host memory for so many rows of an input or output."""
    dtype, shape = np.dtype(_DTYPES[value.type]), (count, *value.shape[1:])
    return pinned(dtype.itemsize * int(np.prod(shape))).view(dtype).reshape(shape)
