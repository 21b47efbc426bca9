"""The generator on PyTriton: Triton itself, with a callback into this process for each instance.

Run by peers.py in PyTriton's environment: `pytriton_server.py MODEL GRPC_PORT INSTANCES HTTP_PORT METRICS_PORT`.
"""

import sys
from collections.abc import Callable

import numpy as np
import onnxruntime
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def generator(session: onnxruntime.InferenceSession) -> Callable[..., dict[str, np.ndarray]]:
    """Gives the function that PyTriton calls for a batch."""

    @batch
    def infer(latents: np.ndarray) -> dict[str, np.ndarray]:
        return {"images": session.run(["images"], {"latents": latents})[0]}

    return infer


def opened(model: str) -> onnxruntime.InferenceSession:
    """Opens a single-threaded session."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = 1, 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def main(model: str, grpc_port: str, instances: str, http_port: str, metrics_port: str) -> None:
    """Serves until it is ended."""
    sessions = [opened(model) for _ in range(int(instances))]
    (dim,), shape = sessions[0].get_inputs()[0].shape[1:], sessions[0].get_outputs()[0].shape[1:]
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=int(http_port),
        grpc_address="127.0.0.1",
        grpc_port=int(grpc_port),
        metrics_port=int(metrics_port),
    )
    with Triton(config=config) as triton:
        triton.bind(
            "generator",
            [generator(session) for session in sessions],
            inputs=[Tensor(name="latents", dtype=np.float32, shape=(dim,))],
            outputs=[Tensor(name="images", dtype=np.uint8, shape=tuple(shape))],
            config=ModelConfig(max_batch_size=16, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
        )
        triton.serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
