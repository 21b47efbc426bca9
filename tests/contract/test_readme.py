"""The README's examples, run as written against a server of the bundled model."""

import re
import shlex
from pathlib import Path

import pytest

from dcgan import bundle as bundles
from dcgan import images
from processes import dcgan, serve

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.removeprefix("$ ")
    for language, block in BLOCKS
    if language in ("sh", "console")
    for line in block.replace("\\\n", " ").splitlines()
    if line.removeprefix("$ ").startswith("dcgan ")
]
METHODS = {"sample", "interpolate", "arithmetic", "encode", "score", "model", "health"}
ASKING = [line for line in COMMANDS if line.split()[1] in METHODS]
PICTURES = ("shoe.png", "shirt.png")
PYTHON = [block for language, block in BLOCKS if language == "python"]


@pytest.fixture(scope="module")
def fashion():
    """A server of the bundled model at the address that the README uses, under another port."""
    with serve("fashion") as serving:
        yield serving


def test_the_readme_shows_how_to_ask():
    """Otherwise this file would pass on an empty README."""
    assert {line.split()[1] for line in ASKING} == METHODS
    assert PYTHON


@pytest.mark.parametrize("line", ASKING)
def test_a_command_of_the_readme_works(fashion, tmp_path, monkeypatch, line):
    """As written, but for the address; in a folder with the pictures that it names."""
    monkeypatch.chdir(tmp_path)
    golden = bundles.load(bundles.locate("fashion")).golden_images
    for name, image in zip(PICTURES, golden, strict=False):
        images.save(name, images.encode(image, "png"))
    ended = dcgan(*shlex.split(line, comments=True)[1:], "--target", fashion.target)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("code", PYTHON)
def test_python_of_the_readme_works(fashion, tmp_path, monkeypatch, code):
    """As written, but for the address."""
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace("localhost:50051", fashion.target), "README.md", "exec"), {})
