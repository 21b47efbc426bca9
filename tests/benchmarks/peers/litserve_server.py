"""The generator on LitServe: the bytes of a latent in, the bytes of an image out, no JSON.

Run by peers.py in LitServe's environment: `litserve_server.py MODEL PORT WORKERS`.
"""

import sys
from typing import Annotated

import litserve
import numpy as np
import onnxruntime
from fastapi import Body, Response


class Generator(litserve.LitAPI):
    """One single-threaded session in each worker process."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Opens the session."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = 1, 1
        self._session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])

    def decode_request(self, request: Annotated[bytes, Body()]) -> np.ndarray:
        """Reads one latent."""
        return np.frombuffer(request, np.float32)

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        """Stacks latents."""
        return np.stack(inputs)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Draws the images of a batch."""
        return self._session.run(["images"], {"latents": x})[0]

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        """Takes the images apart."""
        return list(output)

    def encode_response(self, output: np.ndarray) -> Response:
        """Sends the bytes of one image."""
        return Response(output.tobytes(), media_type="application/octet-stream")


def main(port: str, workers: str) -> None:
    """Serves until it is ended."""
    api = Generator(max_batch_size=16, batch_timeout=0.002)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=int(workers), fast_queue=True)
    server.run(host="127.0.0.1", port=int(port), generate_client_file=False, log_level="warning", access_log=False)


if __name__ == "__main__":
    main(*sys.argv[2:])
