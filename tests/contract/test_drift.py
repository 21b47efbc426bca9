"""What is generated or said twice, held together: stubs and proto, settings and README, vectors and code."""

import json
import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import safetensors.numpy
from google.protobuf import json_format

import dcgan
from bundles import write_bundle
from conftest import serving_in_thread
from dcgan import bundle as bundles
from dcgan import config
from dcgan.bundle.manifest import DirectionSpec
from dcgan.v1 import dcgan_pb2 as pb
from dcgan.v1 import dcgan_pb2_grpc

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "proto/vectors"
README = (ROOT / "README.md").read_text()
MOST_ULP = 2  # between languages, for all but untruncated seeds


def test_the_stubs_are_those_of_the_proto(tmp_path):
    """Byte for byte; if this fails, run `make proto`."""
    made = runpy.run_path(str(ROOT / "proto/generate.py"))
    made["generate"](tmp_path)
    for name in made["GENERATED"]:
        assert (tmp_path / "dcgan/v1" / name).read_bytes() == (ROOT / "service/dcgan/v1" / name).read_bytes(), name


def vectors(name: str) -> dict[str, Any]:
    """Reads a file of conformance vectors."""
    return json.loads((VECTORS / name).read_text())


def assert_near(found: Any, expected: Any) -> None:
    """Compares float32 values, which may be off by roundings."""
    np.testing.assert_array_max_ulp(np.float32(found), np.float32(expected), MOST_ULP)


@pytest.fixture(scope="module", params=["normal", "uniform"])
def vector_server(request, tmp_path_factory):
    """A server whose model has the prior, the dimension and the directions of the vectors; and the prior."""
    given = vectors("expressions.json")
    folder = tmp_path_factory.mktemp("vectors")
    plain = write_bundle(folder / "plain", dim=given["dim"], prior=request.param)
    directions = {name: np.float32(vector) for name, vector in given["directions"].items()}
    specs = {name: DirectionSpec(min_strength=-3, max_strength=3) for name in directions}
    files = {bundles.DIRECTIONS: safetensors.numpy.save(directions)}
    bundles.extend(plain, folder / "full", {"directions": specs}, files)
    with serving_in_thread(folder / "full") as running, grpc.insecure_channel(running.target) as channel:
        yield dcgan_pb2_grpc.GeneratorServiceStub(channel), request.param


@pytest.mark.parametrize("name", ["seeds.json", "expressions.json", "paths.json"])
def test_the_vectors_are_those_of_the_code(name):
    """If this fails, latents have changed their meaning: nothing may do that."""
    made = runpy.run_path(str(VECTORS / "generate.py"))["FILES"][name]()
    written = vectors(name)
    if name != "seeds.json":
        for one, other in zip(made["cases"], written["cases"], strict=True):
            assert_near(one.pop("float32"), other.pop("float32"))
    assert written == made


def test_a_server_evaluates_expressions_as_the_vectors_say(vector_server):
    """Every message in one request, its latents within 2 ulp."""
    stub, prior = vector_server
    cases = [case for case in vectors("expressions.json")["cases"] if case["prior"] == prior]
    messages = [json_format.ParseDict(case["expression"], pb.Expression()) for case in cases]
    request = pb.SampleRequest(
        expressions=pb.ExpressionList(expressions=messages), format=pb.FORMAT_RAW, include_latents=True
    )
    answer = stub.Sample(request, timeout=30)
    latents = np.frombuffer(answer.latents.values, "<f4").reshape(len(cases), answer.latents.dim)
    for case, latent in zip(cases, latents, strict=True):
        assert_near(latent, case["float32"])


def test_a_server_walks_paths_as_the_vectors_say(vector_server):
    """Every frame within 2 ulp."""
    stub, _ = vector_server
    for case in vectors("paths.json")["cases"]:
        nodes = [pb.Node(values=pb.ValuesNode(values=point)) for point in case["points"]]
        raw = pb.NORMALIZATION_RAW  # a uniform prior would clip the points
        request = pb.InterpolateRequest(
            points=[pb.Expression(nodes=[node], normalization=raw) for node in nodes],
            frame_count=case["frameCount"],
            curve=case["curve"],
            closed=case["closed"],
            easing=case["easing"],
            format=pb.FORMAT_RAW,
            include_latents=True,
        )
        chunks = stub.Interpolate(request, timeout=30)
        frames = np.concatenate([np.frombuffer(chunk.latents.values, "<f4") for chunk in chunks])
        assert_near(frames.reshape(case["frameCount"], -1), case["float32"])


def test_every_field_of_the_api_has_a_comment():
    """Its unit, range and default stand there and nowhere else."""
    proto = (ROOT / "proto/dcgan/v1/dcgan.proto").read_text().splitlines()
    fields = [number for number, line in enumerate(proto) if re.search(r" = \d+( \[.*\])?;$", line)]
    assert len(fields) > 100
    bare = [proto[number].strip() for number in fields if not proto[number - 1].strip().startswith("//")]
    assert bare == ['syntax = "proto3";'] * ('syntax = "proto3";' in bare)


def test_the_service_config_names_the_service():
    """And retries what our errors say may be retried."""
    published = json.loads((ROOT / "proto/service_config.json").read_text())
    method = published["methodConfig"][0]
    assert method["name"] == [{"service": pb.DESCRIPTOR.services_by_name["GeneratorService"].full_name}]
    assert {"UNAVAILABLE", "RESOURCE_EXHAUSTED"} <= set(method["retryPolicy"]["retryableStatusCodes"])


def test_the_readme_lists_the_settings_as_they_are():
    """The table is `dcgan.config.table()`, pasted."""
    assert config.table() in README


@pytest.mark.parametrize("command", re.findall(r"^(?:\$ )?(make [\w-]+)", README, re.MULTILINE))
def test_the_readme_s_make_targets_exist(command):
    """Every `make` that it names."""
    assert re.search(rf"^{command.split()[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_documents_name_no_registry_and_no_machine():
    """Nor do the pinned versions."""
    for path in [ROOT / "constraints.txt", ROOT / "pyproject.toml", *ROOT.glob("*.md"), *ROOT.glob("*/*.md")]:
        text = path.read_text()
        assert not re.search(r"pypi\.org|files\.pythonhosted|registry\.npmjs|file://|/root/|/work/", text), path


def test_the_version_is_said_once():
    """pyproject reads it from the package; the changelog has an entry for it."""
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dynamic"] == ["version"]
    assert f"## {dcgan.__version__}" in (ROOT / "CHANGELOG.md").read_text()
