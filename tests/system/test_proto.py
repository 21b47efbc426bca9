"""The proto by outside judges: buf's lint, and the stubs under both protobuf majors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from programs import ROOT, from_npm_or_skipped

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def buf() -> Path:
    """Installs buf from npm, once."""
    return from_npm_or_skipped("buf", "@bufbuild/buf@1.75.0") / "node_modules/.bin/buf"


@pytest.mark.parametrize("check", [["lint"], ["build", "-o", os.devnull]])
def test_buf_accepts_the_proto(buf, check):
    """Lint by the STANDARD rules, and a build."""
    ended = subprocess.run([buf, *check], cwd=ROOT / "proto", capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("protobuf", ["6.31.1", "7.36.2"])
def test_the_client_s_stubs_work_under_protobuf_6_and_7(tmp_path, protobuf):
    """Other packages of a client may hold it back at 6, or push it on to 7."""
    needed = [f"protobuf=={protobuf}", "googleapis-common-protos", "grpcio", "numpy"]
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(tmp_path), *needed]
    subprocess.run(install, check=True, timeout=300)
    code = (
        "import google.protobuf, dcgan; from dcgan.v1 import dcgan_pb2 as pb, dcgan_pb2_grpc;"
        "from dcgan.status import error_of, trailers_of; from dcgan.errors import InvalidField; import grpc;"
        "request = pb.SampleRequest(seeds=pb.SeedRange(seed=7, count=2));"
        "assert pb.SampleRequest.FromString(request.SerializeToString()) == request;"
        "made = error_of(grpc.StatusCode.INVALID_ARGUMENT, '', trailers_of(InvalidField('a', 1, '2')));"
        "assert isinstance(made, InvalidField);"
        "print(google.protobuf.__version__)"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT / "service")])
    ended = subprocess.run(
        [sys.executable, "-S", "-W", "error", "-c", code],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout.strip()) == (0, protobuf), ended.stderr
