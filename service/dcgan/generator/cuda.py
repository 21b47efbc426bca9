"""What ONNX Runtime's CUDA provider is told, and host memory that a GPU copies to without a detour.

None of it has been measured on a GPU yet: `make bench-gpu` compares the choices that are open.
Source of the options: https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html
"""

import ctypes
import weakref
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

_WORKSPACES: Final = 3  # of cuDNN, as a multiple of what a graph computes: it lays tensors out anew, both ways
_FLOOR_BYTES: Final = 512 << 20  # for what doesn't grow with a batch, and graphs whose shapes can't be inferred


def provider_options(graph: bytes, largest_batch: int) -> dict[str, str]:
    """Says how a graph is to run on CUDA, in batches up to `largest_batch`."""
    return {
        # the largest batch runs first, and smaller ones fit into what it took: nothing is gained by doubling
        "arena_extend_strategy": "kSameAsRequested",
        "gpu_mem_limit": str(arena_bytes(graph, largest_batch)),
        # EXHAUSTIVE, the default, has cost 634 ms for each new shape against 1.9 ms (PaddleX#5057), and what it finds
        # may differ from start to start, and with it the pixels
        "cudnn_conv_algo_search": "HEURISTIC",
        "cudnn_conv_use_max_workspace": "1",
        "use_tf32": "1",  # the default; the tolerance of golden images allows for it
        "prefer_nhwc": "0",  # the default; there is a ConvTranspose for it (onnxruntime#21752), not known to be faster
    }


def arena_bytes(graph: bytes, largest_batch: int) -> int:
    """Bounds the memory that a graph may take on the device, which it takes only as far as it needs it.

    Twice the file, since weights may be packed anew; all that the graph computes for the largest batch, as if none of
    it were ever freed; cuDNN's workspaces; and a floor. A card's free memory would be no bound: several graphs of a
    bundle, two versions in a live swap and several servers share it, and each would see the same as free.
    """
    return 2 * len(graph) + (1 + _WORKSPACES) * _computed_bytes(graph, largest_batch) + _FLOOR_BYTES


def _computed_bytes(graph: bytes, rows: int) -> int:
    """Adds up all inputs, outputs and intermediate values for a batch; those of unknown shape count nothing."""
    model = onnx.load_model_from_string(graph)
    for given in model.graph.input:
        given.type.tensor_type.shape.dim[0].dim_value = rows
    del model.graph.value_info[:]  # these and the outputs say n, which inference would keep
    for drawn in model.graph.output:
        drawn.type.tensor_type.ClearField("shape")
    known = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    tensors = [value.type.tensor_type for value in (*known.input, *known.value_info, *known.output)]
    return sum(_tensor_bytes(tensor) for tensor in tensors if tensor.elem_type and tensor.HasField("shape"))


def _tensor_bytes(tensor: onnx.TypeProto.Tensor) -> int:
    sizes = [dimension.dim_value for dimension in tensor.shape.dim]  # 0 where it isn't known
    return int(np.prod(sizes, dtype=np.int64)) * onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize


def pinned(size_bytes: int) -> NDArray[np.uint8]:
    """Takes host memory that the driver keeps in place, so that copies need no detour; ordinary where there is none.

    ONNX Runtime offers no such memory in Python, but copies asynchronously wherever it finds it. It is given back with
    the last array that looks at it.
    """
    memory = _pinned(size_bytes)
    return np.zeros(size_bytes, np.uint8) if memory is None else np.frombuffer(memory, np.uint8)


def _pinned(size_bytes: int) -> Any:
    try:
        # the library that the provider has loaded already
        runtime = ctypes.CDLL(f"libcudart.so.{onnxruntime.cuda_version.split('.')[0]}")
        address = ctypes.c_void_p()
        if runtime.cudaHostAlloc(ctypes.byref(address), ctypes.c_size_t(size_bytes), ctypes.c_uint(0)) != 0:
            return None
    except (OSError, AttributeError):
        return None
    assert address.value is not None
    memory = (ctypes.c_ubyte * size_bytes).from_address(address.value)
    weakref.finalize(memory, runtime.cudaFreeHost, address).atexit = False  # the driver may be gone by then
    ctypes.memset(address, 0, size_bytes)
    return memory
