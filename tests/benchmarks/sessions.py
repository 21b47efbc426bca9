"""Runs of onnxruntime in this process, to compare servers with."""

from collections.abc import Callable

import numpy as np
import onnxruntime

from dcgan import bundle as bundles
from dcgan.latents import draw


def batch_run(bundle: bundles.Bundle, threads: int, batch: int, variant: str = "float32") -> Callable[[], object]:
    """Gives a function that runs a batch of the bundle's generator on a session with so many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(bundle.generator_as(variant), options, providers=["CPUExecutionProvider"])
    latents = draw(0, np.arange(batch), bundle.manifest.latent.dim, bundle.manifest.latent.prior)
    return lambda: session.run(["images"], {"latents": latents})
