"""What `import dcgan` offers."""

import subprocess
import sys

import pytest

import dcgan


@pytest.mark.parametrize("name", dcgan.__all__)
def test_every_public_name_is_there(name: str) -> None:
    """Each is loaded at its first use."""
    assert getattr(dcgan, name) is not None
    assert name in dir(dcgan)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As in any module."""
    with pytest.raises(AttributeError, match="has no attribute 'sampel'"):
        dcgan.sampel  # noqa: B018


def test_building_an_expression_loads_no_client() -> None:
    """Those who only compute latents need no gRPC."""
    code = "import dcgan, sys; dcgan.seed(7) + dcgan.direction('smile'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"grpc", "google.protobuf", "PIL"} & set(loaded)
