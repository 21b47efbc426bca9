"""Both clients against a server whose bundle has an encoder and a discriminator, and the commands that use them."""

import asyncio
import json

import numpy as np
import pytest

import dcgan
from bundles import CALIBRATION, write_bundle
from commands import commands
from conftest import serving_in_thread
from dcgan import errors, images, latents
from dcgan.client.results import Calibration

DIM = 8
SHAPE = 6, 5, 3


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A server of a bundle with all parts."""
    path = tmp_path_factory.mktemp("bundles") / "full"
    write_bundle(path, directions=("less", "more"), encoder=True, discriminator=True)
    with serving_in_thread(path) as running:
        yield running.target


@pytest.fixture(params=["blocking", "asyncio"])
def ask(request, full):
    """Calls a method of one of the two clients by its name and gives its answer."""

    def blocking(method, *args, target=full, **options):
        with dcgan.connect(target) as client:
            return getattr(client, method)(*args, **options)

    async def awaited(method, *args, target=full, **options):
        async with dcgan.connect_async(target) as client:
            return await getattr(client, method)(*args, **options)

    if request.param == "blocking":
        return blocking
    return lambda *args, **options: asyncio.run(awaited(*args, **options))


@pytest.fixture
def run(full, capsys):
    """Runs a command against the server: exit code, standard output, standard error."""

    return commands(full, capsys)


@pytest.fixture
def faces(ask):
    """Forty images that the generator drew, and so can draw again: uint8 (40, h, w, c)."""
    return ask("sample", 40, seed=11).images


def expected_logits(pixels):
    """What the discriminator of the bundle says: float64 (n,)."""
    return pixels.mean(axis=(1, 2, 3)) / 255 * 8 - 4


def test_the_model_tells_of_its_parts(ask):
    """How far scores and latents can be trusted, and what a request may bring."""
    model = ask("model")
    assert model.calibration == Calibration(auc=0.875, real_count=1000, generated_count=2000)
    assert (model.encoder.refines, model.encoder.figures) == (True, {"generated_mse": 0.01})
    assert (model.directions[0].turned, model.directions[0].turned_by_chance) == (0.0, 0.0)
    assert model.limits.max_uploads == 64
    assert model.limits.max_upload_pixels > 10**7
    assert model.limits.max_refine_steps > 0


def test_latents_reconstructions_and_errors_fit_together(ask, faces):
    """The images are those of the latents, and the errors their distances from what was sent."""
    found = ask("encode", faces)
    assert found.latents.shape == (40, DIM)
    assert found.latents.dtype == np.float32
    assert found.identity.name == "linear"
    drawn = ask("sample", found.latents).images
    np.testing.assert_array_equal(found.reconstructions.images, drawn)
    off = (drawn.astype(np.float64) - faces) / 127.5
    np.testing.assert_allclose(found.errors, (off**2).mean(axis=(1, 2, 3)), rtol=1e-5)


def test_refinement_finds_the_image_itself(ask, faces):
    """Where the generator can draw it, little is left of the error."""
    plain, refined = ask("encode", faces[:4]), ask("encode", faces[:4], refine_steps=150)
    assert (refined.errors < 0.1 * plain.errors).all()


def test_files_bytes_and_arrays_are_the_same_images(ask, faces, tmp_path):
    """Alone or in a list; each has its own latent."""
    path = tmp_path / "my face.png"
    path.write_bytes(images.encode(faces[0], "png"))
    found = ask("encode", [path, str(path), path.read_bytes(), faces[0]]).latents
    for alone in (path, path.read_bytes(), faces[0], faces[:1]):
        np.testing.assert_array_equal(ask("encode", alone).latents, found[:1])
    np.testing.assert_array_equal(found, np.repeat(found[:1], 4, axis=0))


def test_more_images_than_a_request_carries_are_sent_in_several(ask, faces):
    """In their order."""
    many = np.concatenate([faces] * 4)
    found = ask("encode", many, format="png")
    np.testing.assert_array_equal(found.latents, np.concatenate([ask("encode", faces).latents] * 4))
    assert len(found.reconstructions) == 160
    np.testing.assert_allclose(ask("score", images=many).logits, expected_logits(many), atol=1e-4)


def test_small_files_of_a_large_model_fit_into_answers(tmp_path):
    """A black picture has 600 bytes, and 196,608 as it comes back."""
    path = write_bundle(tmp_path / "large", height=256, width=256, encoder=True)
    with serving_in_thread(path) as running, dcgan.connect(running.target) as client:
        assert len(client.encode(np.zeros((40, 256, 256, 3), np.uint8)).reconstructions) == 40


def test_an_image_in_an_expression_is_its_latent(ask, faces, tmp_path):
    """As text and as a value, by path and by bytes, refined or not."""
    path = tmp_path / "face.png"
    path.write_bytes(images.encode(faces[0], "png"))
    found = ask("encode", path)
    plain = [f"image({path})", dcgan.image(str(path)), dcgan.image(path.read_bytes())]
    drawn = ask("sample", [*plain, f'image("{path}", refine_steps=5)'], include_latents=True)
    np.testing.assert_array_equal(drawn.latents[:3], np.repeat(found.latents, 3, axis=0))
    assert not np.array_equal(drawn.latents[3], found.latents[0])
    frames = ask("interpolate", [f"image({path})", "7"], frames=3)
    np.testing.assert_array_equal(frames.images[0], found.reconstructions.images[0])


def test_scores_are_calibrated_logits(ask):
    """The same of images that are drawn and of the same images uploaded."""
    drawn = ask("sample", 40, seed=7, include_scores=True)
    asked, uploaded = ask("score", 40, seed=7), ask("score", images=drawn.images)
    for found in (drawn.scores, asked, uploaded):
        np.testing.assert_allclose(found.logits, expected_logits(drawn.images), atol=1e-4)
        by_the_book = 1 / (1 + np.exp(-(CALIBRATION.slope * found.logits + CALIBRATION.offset)))
        np.testing.assert_allclose(found.probabilities, by_the_book, atol=1e-6)
        np.testing.assert_allclose(found.percentiles, (found.logits + 2) * 25, atol=0.01)
    assert (asked.seed, uploaded.seed) == (7, None)
    assert drawn.indices is None


def test_whatever_can_be_drawn_can_be_scored(ask):
    """Texts, expressions, latents, one image of a seed that the server draws."""
    rows = latents.draw(7, np.arange(40), DIM, "normal")
    by_seed = ask("score", 40, seed=7).logits
    np.testing.assert_array_equal(ask("score", rows).logits, by_seed)
    np.testing.assert_array_equal(ask("score", [dcgan.seed(7, at) for at in range(40)]).logits, by_seed)
    np.testing.assert_array_equal(ask("score", "seed(7, 3)").logits, by_seed[3:4])
    np.testing.assert_array_equal(ask("score", 5, seed=7, first_index=35).logits, by_seed[35:])
    drawn = ask("score", 20)
    np.testing.assert_array_equal(ask("score", 20, seed=drawn.seed).logits, drawn.logits)


def test_the_best_are_kept_best_first_and_say_which_they_are(ask):
    """Of a seed by index, of a list by position."""
    every = ask("sample", 100, seed=7, first_index=50, include_scores=True)
    order = np.argsort(-every.scores.logits, kind="stable")[:5]
    best = ask("sample", 100, seed=7, first_index=50, keep_best=5, include_latents=True)
    assert best.numbers == [50 + int(at) for at in order]
    np.testing.assert_array_equal(best.images, every.images[order])
    np.testing.assert_array_equal(best.scores.logits, every.scores.logits[order])
    np.testing.assert_array_equal(best.latents, latents.draw(7, np.array(best.indices), DIM, "normal"))
    listed = ask("sample", [dcgan.seed(7, 50 + at) for at in range(100)], keep_best=5)
    assert listed.numbers == [int(at) for at in order]


def test_a_bundle_without_the_part_says_so(ask, server, tmp_path):
    """And how to have it."""
    path = tmp_path / "face.png"
    path.write_bytes(images.encode(np.zeros(SHAPE, np.uint8), "png"))
    for method, given, options in (
        ("encode", [path], {}),
        ("score", [1], {}),
        ("sample", [f"image({path})"], {}),
        ("sample", [4], {"keep_best": 2}),
        ("sample", [4], {"include_scores": True}),
    ):
        with pytest.raises(errors.NotInBundle, match="has no"):
            ask(method, *given, target=server.target, **options)


@pytest.mark.parametrize(
    ("method", "given", "options", "words"),
    [
        ("encode", [b"no image"], {}, "PNG"),
        ("encode", ["missing.png"], {}, "missing.png; allowed: a file that can be read"),
        ("encode", [np.zeros((2, 2), np.uint8)], {}, "uint8 of shape"),
        ("encode", [np.zeros((2, 2, 3))], {}, "uint8 of shape"),
        ("encode", [[]], {}, "at least 1"),
        ("encode", [bytes(5 << 20)], {}, "at most 4,194,304 bytes"),
        ("encode", [np.zeros(SHAPE, np.uint8)], {"refine_steps": -1}, "refine_steps"),
        ("encode", [np.zeros(SHAPE, np.uint8)], {"refine_steps": 10**9}, "refine_steps"),
        ("score", [3], {"images": np.zeros(SHAPE, np.uint8)}, "either images or what to draw"),
        ("score", [], {"images": np.zeros(SHAPE, np.uint8), "seed": 3}, "only with a number of images"),
        ("sample", ["image(missing.png)"], {}, "missing.png; allowed: a file that can be read"),
        ("sample", ["image(missing.png, refine_steps=99999999999)"], {}, "refine_steps"),
        ("sample", [300], {"keep_best": 3}, "256 images"),
        ("sample", [300], {"include_scores": True}, "256 images"),
        ("sample", [3], {"keep_best": 4}, "keep_best is 4"),
    ],
)
def test_what_cannot_be_asked_is_an_invalid_request(ask, method, given, options, words):
    """From the client where it can tell, else from the server."""
    with pytest.raises(errors.InvalidRequest, match=words):
        ask(method, *given, **options)


def test_encode_writes_what_the_model_draws_and_prints_how_far_off(run, tmp_path):
    """A file and a line for each image, and the latents in one file."""
    run("sample", "--seed", 7, "--count", 3, "--output", tmp_path / "in")
    given = sorted((tmp_path / "in").iterdir())
    code, out, _ = run("encode", *given, "--output", tmp_path / "out", "--latents", tmp_path / "z.npy")
    assert code == 0
    assert [line.rsplit(" ", 1)[0] for line in out.splitlines()] == [str(path) for path in given]
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == [path.name for path in given]
    assert np.load(tmp_path / "z.npy").shape == (3, DIM)
    _, refined, _ = run("encode", *given, "--output", tmp_path / "out", "--refine-steps", 100)
    assert all(float(line.rsplit(" ", 1)[1]) < 0.001 for line in refined.splitlines())
    for folder, words in ((tmp_path / "in", "one of the files themselves"), (tmp_path / "out", "two files would be")):
        code, _, err = run("encode", *given, given[0], "--output", folder)
        assert (code, words in err) == (2, True)


def test_a_file_that_is_no_image_is_named(run, tmp_path):
    """Not by its place in some request; and links in a circle are files that can't be read."""
    run("sample", "--seed", 7, "--output", tmp_path)
    wrong, loop = tmp_path / "wrong.txt", tmp_path / "loop"
    wrong.write_text("words")
    loop.symlink_to(loop)
    right = tmp_path / "seed-7-index-0.png"
    for command, files in (["score"], [right] * 70), (["encode", "--output", tmp_path / "out"], [right]):
        code, _, err = run(*command, *files, wrong)
        assert (code, err.startswith(f"dcgan: {wrong} is 5 bytes; allowed: a PNG")) == (1, True)
        code, _, err = run(*command, loop)
        assert (code, err.startswith(f"dcgan: image is {loop}; allowed: a file that can be read")) == (1, True)


def test_score_prints_a_line_an_image_for_people_and_for_programs(run, tmp_path):
    """The same numbers for files as for the seeds that they were drawn from."""
    run("sample", "--seed", 7, "--count", 3, "--output", tmp_path)
    code, table, _ = run("score", "--seed", 7, "--count", 3)
    assert code == 0
    assert table.splitlines()[0].split() == ["image", "logit", "probability", "percentile"]
    _, data, _ = run("score", "--seed", 7, "--count", 3, "--json")
    by_seed = json.loads(data)
    assert [row["image"] for row in by_seed] == [f"seed-7-index-{at}" for at in range(3)]
    assert f"{by_seed[2]['logit']:.3f}" in table.splitlines()[3]
    _, data, _ = run("score", *(tmp_path / f"seed-7-index-{at}.png" for at in range(3)), "--json")
    assert [row["logit"] for row in json.loads(data)] == [row["logit"] for row in by_seed]
    assert run("score", tmp_path / "seed-7-index-0.png", "--count", 3)[0] == 2


def test_sample_keeps_the_best_files_and_prints_their_scores(run, tmp_path):
    """Each is called as among all, and has the same bytes."""
    forty = "sample", "--seed", 7, "--count", 40
    assert run(*forty, "--output", tmp_path / "all")[0] == 0
    _, every, _ = run(*forty, "--scores")
    code, out, err = run(*forty, "--keep-best", 4, "--scores", "--output", tmp_path / "best")
    assert (code, "the best 4 of 40 images (seed 7" in err) == (0, True)
    by_score = sorted(every.splitlines()[1:], key=lambda line: -float(line.split()[1]))
    best = [line.split()[0] for line in out.splitlines()[1:]]
    assert best == [line.split()[0] for line in by_score[:4]]
    for name in best:
        assert (tmp_path / "best" / f"{name}.png").read_bytes() == (tmp_path / "all" / f"{name}.png").read_bytes()
    assert len(list((tmp_path / "best").iterdir())) == 4
    assert run("sample", "--count", 3, "--keep-best", 4, "--scores")[0] == 2


def test_a_path_may_lead_through_an_image(run, tmp_path):
    """By its file's bare name."""
    run("sample", "--seed", 7, "--count", 2, "--output", tmp_path)
    points = [f"image({tmp_path}/seed-7-index-{at}.png)" for at in range(2)]
    assert run("interpolate", *points, "--output", tmp_path / "a.gif")[0] == 0


def test_the_model_s_parts_are_described_for_people(run):
    """With what it takes to judge scores."""
    _, text, _ = run("model")
    assert "AUC 0.875 on 1,000 held-out real and 2,000 generated images" in text
    assert "generated_mse 0.01" in text
