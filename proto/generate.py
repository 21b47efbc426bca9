"""Generates the Python stubs from the proto, with their types, below the folder given.

Run as `python proto/generate.py service` after a change of the proto. The compiler is pinned in pyproject.toml to
the last one on protobuf 6, since stubs ask for at least the protobuf that made them.
"""

import shutil
import sys
import sysconfig
from pathlib import Path

from grpc_tools import protoc

PROTO = Path(__file__).parent
GENERATED = ["dcgan_pb2.py", "dcgan_pb2.pyi", "dcgan_pb2_grpc.py", "dcgan_pb2_grpc.pyi", "service_config.json"]


def generate(output: Path) -> None:
    """Writes the stubs and the service config to `output`/dcgan/v1; ends the program if protoc fails."""
    outputs = [f"--{kind}_out={output}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    scripts = Path(sysconfig.get_path("scripts"))  # of this environment, which need not be on the PATH
    plugins = [f"--plugin={name}={scripts / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    well_known = Path(protoc.__file__).parent / "_proto"
    imports = [f"-I{PROTO}", f"-I{well_known}"]
    if protoc.main(["protoc", *imports, *plugins, *outputs, str(PROTO / "dcgan/v1/dcgan.proto")]):
        raise SystemExit("protoc failed")
    shutil.copy(PROTO / "service_config.json", output / "dcgan/v1")


if __name__ == "__main__":
    generate(Path(sys.argv[1]))
