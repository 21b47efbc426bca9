"""TensorBoard events, written in the thread that trains.

TensorBoard's own writer has a thread, which dies with a traceback where the disk is full; here the error reaches
the loop like any other, and nothing is lost but the record at hand.
"""

import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.record_writer import RecordWriter

from dcgan import images


class Events:
    """One file of events of a run; the step of each is the images seen. Methods raise OSError where the disk refuses.

    Args:
        directory: that TensorBoard is pointed at; made if it isn't there.
        step: where the run begins or continues; what earlier files say beyond it is hidden.
    """

    def __init__(self, directory: Path, step: int) -> None:
        directory.mkdir(exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns()}.{platform.node()}.{os.getpid()}"  # the form that it looks for
        self._file = (directory / name).open("wb")
        self._records = RecordWriter(self._file)
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one value for each tag."""
        self._summary(step, [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])

    def image(self, step: int, tag: str, pixels: NDArray[np.uint8]) -> None:
        """Writes an image, uint8 of shape (height, width, channels)."""
        height, width, channels = pixels.shape
        png = images.encode(pixels, "png")
        image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=png)
        self._summary(step, [Summary.Value(tag=tag, image=image)])

    def text(self, step: int, tag: str, text: str) -> None:
        """Writes a text, for TensorBoard's page of texts."""
        tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()])
        tensor.tensor_shape.dim.add(size=1)
        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        self._summary(step, [Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _summary(self, step: int, values: list[Summary.Value]) -> None:
        self._write(Event(step=step, summary=Summary(value=values)))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())
        self._file.flush()
