from dataclasses import replace

import pytest
import torch

from dcgan.errors import DeviceError
from dcgan_training.machine import Machine, gpu_memory_checked
from runs import CPU


def test_the_machine_that_was_chosen_is_the_one_that_is() -> None:
    """Threads and device are read back, not repeated."""
    machine = Machine.choose("cpu", "float32", 1)
    assert (machine.device, machine.precision, machine.threads) == ("cpu", "float32", torch.get_num_threads())


def test_a_gpu_that_is_not_there_is_refused() -> None:
    """No silent fall-back to the CPU, which would take days."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA GPU")
    with pytest.raises(DeviceError, match="use --device cpu"):
        Machine.choose("cuda", "auto", None)


def test_a_gpu_without_enough_memory_is_an_error_with_advice() -> None:
    """Torch's own is a RuntimeError, which would show as a defect."""
    with pytest.raises(DeviceError, match="--set batch_size"), gpu_memory_checked():
        raise torch.OutOfMemoryError


def test_differences_are_named_with_both_values() -> None:
    """What changed between two starts of a run."""
    assert replace(CPU, threads=8).differences(CPU) == ["threads 1 before, 8 now"]
    assert replace(CPU, processes=2).differences(CPU) == ["processes 1 before, 2 now"]
    assert replace(CPU, package="b").differences(replace(CPU, package="a")) == ["package a before, b now"]
    assert CPU.differences(CPU) == []
