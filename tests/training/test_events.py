from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dcgan_training.events import Events


def test_tensorboard_reads_scalars_and_images(tmp_path: Path) -> None:
    """Through TensorBoard's own reader: tags, steps and values."""
    grid = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    with Events(tmp_path / "events", 0) as events:
        events.scalars(128, {"loss/generator": 0.5, "loss/discriminator": 1.5})
        events.image(256, "samples", grid)
    read = EventAccumulator(str(tmp_path / "events")).Reload()
    assert [(event.step, event.value) for event in read.Scalars("loss/generator")] == [(128, 0.5)]
    (image,) = read.Images("samples")
    assert (image.step, image.height, image.width) == (256, 4, 5)


def test_what_a_killed_process_wrote_too_far_is_hidden(tmp_path: Path) -> None:
    """The run continues from its last checkpoint and makes those steps again."""
    with Events(tmp_path / "events", 0) as events:
        for step in (100, 200, 300):
            events.scalars(step, {"loss/generator": 1.0})
    with Events(tmp_path / "events", 200) as events:
        events.scalars(300, {"loss/generator": 2.0})
    read = EventAccumulator(str(tmp_path / "events")).Reload()
    assert [(event.step, event.value) for event in read.Scalars("loss/generator")] == [
        (100, 1.0),
        (200, 1.0),
        (300, 2.0),
    ]


def test_tensorboard_reads_texts(tmp_path: Path) -> None:
    """Under the tag that its page of texts looks for."""
    with Events(tmp_path / "events", 0) as events:
        events.text(128, "alarm/collapse", "the samples collapse")
    read = EventAccumulator(str(tmp_path / "events")).Reload()
    (text,) = read.Tensors("alarm/collapse")
    assert (text.step, text.tensor_proto.string_val) == (128, [b"the samples collapse"])
    assert read.SummaryMetadata("alarm/collapse").plugin_data.plugin_name == "text"
