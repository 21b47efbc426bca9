"""A runtime of MLServer that runs the generator; named by the model-settings.json that peers.py writes.

The images are handed over as bytes, not as the list of numbers that MLServer's NumpyCodec makes: it takes both, and
bytes cost it less.
"""

import numpy as np
import onnxruntime
from mlserver import MLModel, types
from mlserver.codecs import NumpyCodec


class Generator(MLModel):
    """One single-threaded session in each of MLServer's worker processes."""

    async def load(self) -> bool:
        """Opens the session."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = 1, 1
        uri = self.settings.parameters.uri
        self._session = onnxruntime.InferenceSession(uri, options, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: types.InferenceRequest) -> types.InferenceResponse:
        """Draws the images of a batch that MLServer has put together."""
        latents = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32, copy=False)
        images = self._session.run(["images"], {"latents": latents})[0]
        output = types.ResponseOutput(
            name="images", datatype="UINT8", shape=list(images.shape), data=types.TensorData(images.tobytes())
        )
        return types.InferenceResponse(model_name=self.name, outputs=[output])
