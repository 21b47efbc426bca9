"""A runtime of MLServer that runs the generator; named by the model-settings.json that peers.py writes.

The images are handed over as bytes, not as the list of numbers that MLServer's NumpyCodec makes: it takes both, and
bytes cost it less.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
from mlserver import MLModel, types
from mlserver.codecs import NumpyCodec


class Generator(MLModel):
    """A single-threaded session in each of MLServer's processes, run by as many threads as its settings say."""

    async def load(self) -> bool:
        """Opens the session."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = 1, 1
        parameters = self.settings.parameters
        self._session = onnxruntime.InferenceSession(parameters.uri, options, providers=["CPUExecutionProvider"])
        self._pool = ThreadPoolExecutor(parameters.extra["threads"])
        return True

    async def predict(self, payload: types.InferenceRequest) -> types.InferenceResponse:
        """Draws the images of a batch that MLServer has put together."""
        latents = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32, copy=False)
        loop = asyncio.get_running_loop()
        (images,) = await loop.run_in_executor(self._pool, self._session.run, ["images"], {"latents": latents})
        output = types.ResponseOutput(
            name="images", datatype="UINT8", shape=list(images.shape), data=types.TensorData(images.tobytes())
        )
        return types.InferenceResponse(model_name=self.name, outputs=[output])
