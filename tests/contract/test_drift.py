"""What is generated or said twice, held together: stubs and proto, settings and README, vectors and code."""

import json
import re
import runpy
import tomllib
from pathlib import Path

import pytest

import dcgan
from dcgan import config
from dcgan.v1 import dcgan_pb2 as pb

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_stubs_are_those_of_the_proto(tmp_path):
    """Byte for byte; if this fails, run `make proto`."""
    made = runpy.run_path(str(ROOT / "proto/generate.py"))
    made["generate"](tmp_path)
    for name in made["GENERATED"]:
        assert (tmp_path / "dcgan/v1" / name).read_bytes() == (ROOT / "service/dcgan/v1" / name).read_bytes(), name


def test_the_vectors_are_those_of_the_code():
    """If this fails, seeds have changed their meaning: nothing may do that."""
    made = runpy.run_path(str(ROOT / "proto/vectors/generate.py"))
    assert json.loads((ROOT / "proto/vectors/seeds.json").read_text()) == made["seeds"]()


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
