"""The command `dcgan` against a real server: files, pictures, exit codes, one line for every error."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from bundles import write_bundle
from commands import commands
from conftest import serving_in_thread
from dcgan import images, latents
from dcgan.cli import main
from processes import dcgan

NAMES = [f"seed-7-index-{index}.png" for index in range(16)]


@pytest.fixture
def run(server, capsys):
    """Runs a command against the shared server: exit code, standard output, standard error."""

    return commands(server.target, capsys)


def contents(folder):
    """Gives the bytes of every file in a folder by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_16_images_are_the_same_files_at_once_and_one_by_one(run, tmp_path):
    """Names and bytes depend on seed and index alone."""
    said = run("sample", "--seed", 7, "--count", 16, "--output", tmp_path / "once")
    assert said == (0, "", "16 images (seed 7, by linear 1)\n")
    for index in range(16):
        assert run("sample", "--seed", 7, "--index", index, "--count", 1, "--output", tmp_path / "singly")[0] == 0
    assert sorted(contents(tmp_path / "once")) == sorted(NAMES)
    assert contents(tmp_path / "once") == contents(tmp_path / "singly")


def test_files_grid_and_latents_come_of_one_call(run, tmp_path):
    """The grid shows the files' images, and the latents are those that drew them."""
    grid, rows = tmp_path / "grid.png", tmp_path / "z.npy"
    code, *_ = run("sample", "--seed", 7, "--count", 9, "--output", tmp_path, "--grid", grid, "--latents", rows)
    assert code == 0
    z = np.load(rows)
    assert z.dtype == np.float32
    np.testing.assert_array_equal(z, latents.draw(7, np.arange(9), 8, "normal"))
    tiles = np.stack([images.decode((tmp_path / name).read_bytes()) for name in NAMES[:9]])
    np.testing.assert_array_equal(images.decode(grid.read_bytes()), images.grid(images.enlarge(tiles, 14), 3))


def test_expressions_are_images_of_their_own(run, tmp_path):
    """In the order in which they were given."""
    assert run("sample", "seed(7, 3)", "1 - 0.5*direction(more)", "--output", tmp_path)[0] == 0
    assert run("sample", "--seed", 7, "--index", 3, "--output", tmp_path)[0] == 0
    files = contents(tmp_path)
    assert sorted(files) == ["image-0.png", "image-1.png", "seed-7-index-3.png"]
    assert files["image-0.png"] == files["seed-7-index-3.png"]


def test_other_formats_and_truncation_show_in_the_names(run, tmp_path):
    """So that no image replaces another one."""
    run("sample", "--seed", 7, "--output", tmp_path)
    run("sample", "--seed", 7, "--output", tmp_path, "--truncation", 0.5)
    run("sample", "--seed", 7, "--output", tmp_path, "--format", "jpeg")
    names = ["seed-7-index-0-truncation-0.5.png", "seed-7-index-0.jpg", "seed-7-index-0.png"]
    assert sorted(contents(tmp_path)) == names


def test_without_a_seed_the_server_draws_one_which_the_name_tells(run, tmp_path):
    """Asked for by it the image is the same."""
    _, _, err = run("sample", "--output", tmp_path)
    (path,) = tmp_path.iterdir()
    seed = path.name.split("-")[1]
    assert f"seed {seed}" in err
    before = path.read_bytes()
    path.unlink()
    run("sample", "--seed", seed, "--output", tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_an_interpolation_is_an_animation_of_its_frames(run, tmp_path, suffix):
    """All of them, endless, large enough to be seen."""
    path = tmp_path / f"path.{suffix}"
    assert run("interpolate", "3", "9", "seed(4)", "--frames", 30, "--closed", "--output", path)[0] == 0
    with Image.open(path) as animation:
        assert (animation.n_frames, animation.info["loop"]) == (30, 0)
        assert min(animation.size) >= 180


def test_arithmetic_is_a_sheet_with_exemplars_and_neighbours(run, tmp_path):
    """Three columns of three exemplars and their mean, and 3 x 3 with the result in the middle."""
    path = tmp_path / "sheet.png"
    assert run("arithmetic", "mean(1,2,3) - mean(4,5,6) + mean(7,8,9)", "--output", path)[0] == 0
    height, width, channels = images.decode(path.read_bytes()).shape
    assert height > 4 * 112
    assert width > 6 * 95
    assert channels == 3


def test_the_sheet_shows_the_same_sum_of_pixels_below(run, tmp_path):
    """The clipped sum of the exemplars' means; and every image of the sheet is a file of its own, with its latent."""
    sheet, parts = tmp_path / "sheet.png", tmp_path / "parts"
    flags = ["--pixels", "--parts", parts, "--neighbours", 2, "--output", sheet]
    assert run("arithmetic", "mean(1,2) - 2*seed(4) + mean(7,8)", *flags)[0] == 0
    exemplars = [f"exemplar-{name}" for name in ("1-1", "1-2", "2-1", "3-1", "3-2")]
    pictures = [*exemplars, "neighbour-1", "neighbour-2", "pixels", "result", "term-1", "term-2", "term-3"]
    assert sorted(contents(parts)) == sorted(["latents.npz", *(f"{name}.png" for name in pictures)])
    levels = [images.decode((parts / f"{name}.png").read_bytes()).astype(float) for name in exemplars]
    by_pixel = (levels[0] + levels[1]) / 2 - 2 * levels[2] + (levels[3] + levels[4]) / 2
    expected = np.clip(np.rint(by_pixel), 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(images.decode((parts / "pixels.png").read_bytes()), expected)
    with np.load(parts / "latents.npz") as rows:
        assert {name: rows[name].shape for name in rows} == {"terms": (3, 8), "result": (1, 8), "neighbours": (2, 8)}
        np.testing.assert_array_equal(rows["terms"][1], latents.draw(4, [0], 8, "normal")[0])


def test_labels_of_a_sheet_are_given_once_for_each_term(run, tmp_path):
    """In place of the formulas."""
    plain, labelled = tmp_path / "plain.png", tmp_path / "labelled.png"
    assert run("arithmetic", "1 - 2", "--output", plain)[0] == 0
    assert run("arithmetic", "1 - 2", "--label", "one", "--label", "another", "--output", labelled)[0] == 0
    assert plain.read_bytes() != labelled.read_bytes()
    code, _, err = run("arithmetic", "1 - 2", "--label", "one", "--output", labelled)
    assert code == 2
    assert "1 times for 2 terms" in err


def test_directions_are_added_to_every_latent(run, tmp_path):
    """To each seed's, in as many calls as it takes, and to each expression's; the names tell."""
    moves = ["--direction", "more=2", "--direction", "less=-0.5"]
    rows = tmp_path / "z.npy"
    code, _, err = run("sample", "--seed", 7, "--index", 3, "--count", 1001, *moves, "--latents", rows)
    assert (code, err) == (0, "1001 images (seed 7, by linear 1)\n")
    by = 2 * latents.draw(99, [1], 8, "normal") - 0.5 * latents.draw(99, [0], 8, "normal")
    np.testing.assert_allclose(np.load(rows), latents.draw(7, np.arange(3, 1004), 8, "normal") + by, atol=1e-5)
    run("sample", "--seed", 7, "--index", 3, *moves, "--output", tmp_path / "seeds")
    run("sample", "seed(7, 3)", *moves, "--output", tmp_path / "expressions")
    assert list(contents(tmp_path / "seeds")) == ["seed-7-index-3-more-2-less--0.5.png"]
    assert list(contents(tmp_path / "expressions")) == ["image-0.png"]
    assert [*contents(tmp_path / "seeds").values()] == [*contents(tmp_path / "expressions").values()]


def test_with_a_direction_and_no_seed_the_name_tells_the_one_that_was_drawn(run, tmp_path):
    """The client draws it, since expressions can't leave it to the server."""
    _, _, err = run("sample", "--count", 2, "--direction", "more=2", "--output", tmp_path)
    seed = err.split("seed ")[1].split(",")[0]
    assert sorted(contents(tmp_path)) == [f"seed-{seed}-index-{at}-more-2.png" for at in range(2)]


def test_a_raw_expression_is_moved_as_it_is(run, tmp_path):
    """Nothing is normalised for the direction's sake."""
    run("sample", "raw(seed(7) + seed(8))", "--direction", "more=1", "--latents", tmp_path / "z.npy")
    seeds = latents.draw(np.array([7, 8]), [0, 0], 8, "normal").sum(axis=0)
    np.testing.assert_allclose(np.load(tmp_path / "z.npy")[0], seeds + latents.draw(99, [1], 8, "normal")[0], atol=1e-5)


def test_the_model_is_described_for_people_and_for_programs(run):
    """The same facts."""
    _, text, _ = run("model")
    _, data, _ = run("model", "--json")
    described = json.loads(data)
    assert described["identity"]["manifest_digest"] in text
    assert "linear, version 1" in text
    assert [direction["name"] for direction in described["directions"]] == ["less", "more"]


def test_health_is_0_only_for_a_server_that_serves(run, bundle):
    """For probes and scripts."""
    assert run("health")[:2] == (0, "SERVING\n")
    assert run("health", target="localhost:9")[0] == 1
    with serving_in_thread(bundle) as running:
        running.health.stop()  # as it is while the server drains
        assert run("health", target=running.target)[:2] == (1, "NOT_SERVING\n")


def test_verify_prints_what_it_checked(bundle, capsys):
    """Files, shapes, golden images."""
    assert main(["verify", str(bundle)]) == 0
    said = capsys.readouterr().out
    for fact in ("linear, version 1", "sha256", "float32 [n, 8] to uint8 [n, 6, 5, 3]", "4 images reproduced"):
        assert fact in said


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["sample", "2*3", "--grid", "g.png"], "one side of * must be an expression"),
        (["sample", "direction(smile)", "--grid", "g.png"], "it has: less, more"),
        (["sample", "--grid", "g.tiff"], ".png, .jpg, .jpeg, .webp, not .tiff"),
        (["sample", "--grid", "missing/g.png"], "its folder does not exist"),
        (["sample", "--latents", "missing/z.npy"], "its folder does not exist"),
        (["sample", "--output", "/dev/null"], "can't make the folder"),
        (["sample", "--truncation", "9", "--grid", "g.png"], "seeds.truncation is 9.0"),
        (["interpolate", "1", "--output", "p.gif"], "at least 2"),
        (["interpolate", "1", "2", "--output", "p.mp4"], ".gif or .webp, not .mp4"),
        (["interpolate", "1", "2", "--frames", "2000000000", "--output", "p.gif"], "frame_count is 2000000000"),
        (["arithmetic", "1 + x", "--output", "s.png"], "direction(x)"),
        (["arithmetic", "1 + 2", "--output", "s"], "not nothing"),
        (["sample", "--direction", "smile=1", "--grid", "g.png"], "it has: less, more"),
        (["sample", "image(nobody.png)", "--grid", "g.png"], "image is nobody.png; allowed: a file that can be read"),
        (["encode", "nobody.png", "--output", "x"], "image is nobody.png; allowed: a file that can be read"),
        (["score"], "no discriminator"),
        (["verify", "nowhere"], "is no directory"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_1(run, tmp_path, monkeypatch, command, words):
    """And nothing is left behind."""
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*command) if command[0] != "verify" else (main(command), "", None)
    assert (code, out) == (1, "")
    if err is not None:
        assert err.startswith("dcgan: ")
        assert err.count("\n") == 1
        assert words in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["sample"], "--output DIR, --grid FILE or --latents FILE"),
        (["sample", "1", "--seed", "3", "--grid", "g.png"], "--seed is for seeds"),
        (["sample", "--seed", "-1", "--grid", "g.png"], "no whole number from 0"),
        (["sample", "--count", "20000", "--grid", "g.png"], "too many for a grid"),
        (["sample", "--see", "1", "--grid", "g.png"], "unrecognized arguments"),
        (["interpolate", "1", "2", "--fps", "60", "--output", "p.gif"], "above 0 and at most 50"),
        (["interpolate", "1", "2"], "--output"),
        (["sample", "--direction", "more", "--grid", "g.png"], "NAME=STRENGTH"),
        (["sample", "--direction", "more=nan", "--grid", "g.png"], "NAME=STRENGTH"),
        (["sample", "--keep-best", "2", "--grid", "g.png"], "more than the 1 that are drawn"),
        (["draw"], "invalid choice"),
    ],
)
def test_wrong_usage_is_2_and_says_what_is_right(run, command, words):
    """As argparse does."""
    code, out, err = run(*command)
    assert (code, out) == (2, "")
    assert words in err


def test_without_a_server_the_line_says_how_to_start_one(run, tmp_path):
    """Nothing is made, not even the folder's files."""
    code, _, err = run("sample", "--output", tmp_path, target="localhost:9")
    assert code == 1
    assert "start one with `dcgan serve`" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_quietly_and_leaves_whole_files(server, tmp_path, number, code):
    """In the middle of a million images; Ctrl-C, and what `timeout` and Kubernetes send."""
    command = [sys.executable, "-m", "dcgan", "sample", "--count", "1000000", "--target", server.target]
    flags = ["--output", tmp_path / "images", "--latents", tmp_path / "z.npy"]
    with subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while len(list(tmp_path.glob("images/*.png"))) < 10:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (code, b"", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
    for path in list((tmp_path / "images").iterdir())[:50]:
        assert images.decode(path.read_bytes()).shape == (6, 5, 3)


def test_a_reader_that_leaves_ends_the_command_quietly(server):
    """`dcgan model | head -0`."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "dcgan", "model", "--target", server.target]
    with subprocess.Popen(command, stdout=write, stderr=subprocess.PIPE) as process:
        os.close(write)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (141, b"")


def test_an_output_may_be_standard_output(server, tmp_path):
    """With nothing else in it: what was drawn is told on standard error."""
    path = tmp_path / "out"
    command = [sys.executable, "-m", "dcgan", "sample", "--seed", "7", "--target", server.target]
    with path.open("wb") as out:
        flags = ["--latents", "/dev/stdout"]
        ended = subprocess.run([*command, *flags], stdout=out, stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "1 image (seed 7, by linear 1)\n")
    with path.open("rb") as written:
        np.testing.assert_array_equal(np.load(written), latents.draw(7, [0], 8, "normal"))
        assert written.read() == b""


@pytest.mark.parametrize(
    ("command", "redirection", "why"),
    [
        ("model", ">/dev/full", "No space left on device"),
        ("--help", ">/dev/full", "No space left on device"),
        ("model", ">&-", "it is closed"),
    ],
)
def test_a_result_that_nobody_gets_is_one_line_and_1(server, command, redirection, why):
    """The disk is full, or the shell closed the stream."""
    command = [sys.executable, "-m", "dcgan", command, "--target", server.target]
    shell = ["sh", "-c", f'exec "$@" {redirection}', "sh"]
    buffered = os.environ | {"PYTHONUNBUFFERED": ""}  # as it is for users: not the write fails but the flush
    ended = subprocess.run([*shell, *command], capture_output=True, text=True, env=buffered, check=False)
    assert (ended.returncode, ended.stderr) == (1, f"dcgan: can't write to standard output: {why}\n")


def test_a_note_that_nobody_reads_is_no_error(server, tmp_path):
    """The images are there."""
    command = [sys.executable, "-m", "dcgan", "sample", "--grid", tmp_path / "g.png", "--target", server.target]
    for redirection in ("2>/dev/full", "2>&-", ">&-"):
        subprocess.run(["sh", "-c", f'exec "$@" {redirection}', "sh", *command], capture_output=True, check=True)
        (tmp_path / "g.png").unlink()


def test_names_that_are_no_text_are_one_line_and_1(run, bundle, tmp_path):
    """Python gives such bytes as lone surrogates, which neither gRPC nor a terminal takes."""
    said = run("model", target="\udcff")
    assert said == (1, "", "dcgan: --target is '\\udcff'; allowed: an address in UTF-8\n")
    (tmp_path / "b\udcff").symlink_to(bundle)
    ended = dcgan("verify", tmp_path / "b\udcff", PYTHONIOENCODING="utf-8")
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "can't write to standard output: 'utf-8' codec can't encode" in ended.stderr


def test_a_full_disk_is_one_line_and_keeps_nothing(server, tmp_path):
    """A limit on the size of files stands for the disk, since both refuse the same write."""

    command = [sys.executable, "-m", "dcgan", "sample", "--count", "1000", "--target", server.target]
    limited = ["sh", "-c", 'ulimit -f 16; exec "$@"', "sh", *command, "--latents", tmp_path / "z.npy"]
    ended = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "larger than files may be" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_many_large_images_take_no_more_memory_than_few(tmp_path):
    """120 MB pass through a process that grows by less than a third of it."""
    path = write_bundle(tmp_path / "large", height=64, width=64)

    def peak_bytes(count, target):
        code = (
            "import resource, sys; from dcgan.cli import main\n"
            "code = main(sys.argv[1:]); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
        )
        flags = ["sample", "--count", str(count), "--latents", str(tmp_path / "z.npy"), "--target", target]
        ended = subprocess.run([sys.executable, "-c", code, *flags], capture_output=True, text=True, check=True)
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * int(ended.stdout.split()[-1])

    with serving_in_thread(path) as running:
        assert peak_bytes(10_000, running.target) - peak_bytes(16, running.target) < 40_000_000


def test_asking_loads_nothing_of_the_server(server):
    """Pillow and pydantic neither, where no picture is drawn here."""
    code = "import sys; from dcgan.cli import main; main(sys.argv[1:]); print(*sys.modules)"
    command = [sys.executable, "-c", code, "model", "--target", server.target]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert not {"PIL", "pydantic", "onnxruntime", "torch", "onnx", "structlog"} & set(loaded)


def test_the_command_is_there_as_a_module_and_tells_its_version():
    """`python -m dcgan` and `dcgan` are the same."""
    assert dcgan("--version").stdout == "dcgan 0.1.0\n"
    shown = dcgan("--help").stdout
    for command in ("serve", "verify", "health", "model", "sample", "interpolate", "arithmetic"):
        assert command in shown
    assert "--max-queued-rows" in dcgan("serve", "--help").stdout


def test_latents_go_into_a_pipe(server):
    """For a program that reads them as they come; the summary is not among them."""
    command = [sys.executable, "-m", "dcgan", "sample", "--seed", "7", "--count", "3", "--latents", "/dev/stdout"]
    ended = subprocess.run([*command, "--target", server.target], capture_output=True, timeout=60, check=True)
    np.testing.assert_array_equal(np.load(io.BytesIO(ended.stdout)), latents.draw(7, range(3), 8, "normal"))
