import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dcgan import bundle
from dcgan.bundle.manifest import DirectionSpec, LatentSpec, Manifest
from dcgan.errors import OutputError, SettingsError
from dcgan.generator import Generator
from dcgan_training import classifier, direction_vectors, directions, labels, strips
from dcgan_training.card import with_section
from dcgan_training.cli import main
from dcgan_training.data import Dataset
from dcgan_training.direction_card import commands, section
from dcgan_training.direction_measures import Reading, Realism, Sampler, useful_range
from dcgan_training.directions import Plan, Request, add_directions, halves
from dcgan_training.errors import DataError
from runs import LABELS, SUBSET

PLAIN = {"variants": {}, "directions": {}, "calibration": None, "encoder": None}
QUICK = Plan(seed=3, samples=2000, shown=6000)
RANDOM = np.random.Generator(np.random.PCG64(5))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped bundle, which draws what the subset shows, without the directions that it may have."""
    output = tmp_path_factory.mktemp("directions") / "made"
    shipped = bundle.load(bundle.locate("fashion"))
    files = {name: (shipped.path / name).read_bytes() for name in (bundle.GENERATOR, bundle.GOLDEN, bundle.MODEL_CARD)}
    bundle.write(output, Manifest.model_validate(shipped.manifest.model_dump() | PLAIN), files)
    return output


@pytest.fixture(scope="module")
def said() -> list[str]:
    """What was said while directions were found."""
    return []


@pytest.fixture(scope="module")
def found(made: Path, said: list[str]) -> Path:
    """The bundle with directions."""
    output = made.parent / "found"
    add_directions(made, output, (SUBSET, LABELS), Request(), QUICK, said.append)
    return output


def test_a_bundle_gets_directions_that_its_manifest_describes(found: Path, made: Path) -> None:
    """Verified by the code that serves it; the generator is the one it was."""
    loaded = bundle.load(found)
    assert loaded.directions
    assert loaded.generator == bundle.load(made).generator
    for name, spec in loaded.manifest.directions.items():
        assert np.linalg.norm(loaded.directions[name]) > 0
        assert spec.min_strength <= 0 <= spec.max_strength
        assert spec.sample_count == 2000
        assert 0 < spec.positive_count < 2000
        assert spec.accuracy is not None
        assert 0.5 < spec.accuracy <= 1


def test_directions_turn_more_samples_than_chance(found: Path) -> None:
    """As a classifier sees it that took no part in finding them, in the mean."""
    specs = bundle.load(found).manifest.directions.values()
    assert np.mean([spec.turned - spec.turned_by_chance for spec in specs]) > 0.1


def test_classes_that_the_model_does_not_draw_are_left_out_with_a_note(found: Path, said: list[str]) -> None:
    """Each of the ten has a direction, or a line that says why not."""
    there = bundle.load(found).manifest.directions
    left_out = [line for line in said if " is left out: " in line]
    assert len(there) + len(left_out) == 10


def test_each_direction_has_a_picture(found: Path) -> None:
    """Five seeds at seven strengths; the middle of what is unmoved is the seed's own image."""
    loaded = bundle.load(found)
    unmoved = Generator(loaded, "cpu").run(strips._of_seed(loaded.manifest.latent, 0))[0, :, :, 0]
    for name, spec in loaded.manifest.directions.items():
        with Image.open(found / f"direction-{name}.png") as picture:
            assert (picture.mode, picture.width) == ("L", 7 * 58 + 2)
            column = strips.strengths_of(spec.min_strength, spec.max_strength).index(0)
            pixels = np.asarray(picture)[-5 * 58 : -4 * 58 - 2 : 2, 2 + column * 58 : column * 58 + 58 : 2]
        assert np.array_equal(pixels, unmoved)


def test_the_card_tells_how_directions_were_found(found: Path) -> None:
    """A row for each, and the command, before the licence."""
    card = (found / "MODEL_CARD.md").read_text()
    assert card.count("## Directions") == 1
    section = card[card.index("## Directions") : card.index("## Licence")]
    for name in bundle.load(found).directions:
        assert f"[{name}](direction-{name}.png)" in section
    assert "--samples 2000 --seed 3" in section


def test_the_same_seed_finds_the_same_direction_again(found: Path, tmp_path: Path) -> None:
    """Under another name, in the place of the bundle, which keeps those that it has."""
    before = bundle.load(found)
    bundle.extend(found, tmp_path / "b", {}, {})
    name = next(iter(before.directions))
    request = Request(attributes=(f"my=class:{name}",))
    add_directions(tmp_path / "b", None, (SUBSET, LABELS), request, QUICK, lambda _: None)
    after = bundle.load(tmp_path / "b")
    assert set(after.directions) == {*before.directions, "my"}
    assert np.array_equal(after.directions["my"], before.directions[name])


def test_directions_that_were_added_meanwhile_stay(made: Path, found: Path, tmp_path: Path) -> None:
    """Finding takes minutes, and two may look for different ones in one bundle."""
    path, there = tmp_path / "b", next(iter(bundle.load(found).directions))
    shutil.copytree(made, path)

    def say(_: str) -> None:
        if not bundle.load(path).directions:
            shutil.rmtree(path)
            shutil.copytree(found, path)

    add_directions(path, None, (SUBSET, LABELS), Request(attributes=(f"my=class:{there}",)), QUICK, say)
    assert set(bundle.load(path).directions) == {*bundle.load(found).directions, "my"}


def test_other_directions_are_made_orthogonal() -> None:
    """To all that are named, which stay as they are."""
    vectors = {name: RANDOM.standard_normal(20).astype(np.float32) for name in "abcd"}
    before = dict(vectors)
    direction_vectors.take_out(vectors, ["a", "b"])
    for named in "ab":
        assert vectors[named] is before[named]
        assert all(abs(vectors[other] @ vectors[named]) < 1e-4 for other in "cd")


def test_a_direction_that_is_named_twice_is_taken_out_once() -> None:
    """The others come out as if it had been named once."""
    vectors = {name: RANDOM.standard_normal(20).astype(np.float32) for name in "abc"}
    twice = dict(vectors)
    direction_vectors.take_out(vectors, ["a"])
    direction_vectors.take_out(twice, ["a", "a"])
    assert all(np.array_equal(vectors[name], twice[name]) for name in "abc")


def test_a_direction_that_was_left_out_can_not_be_taken_out() -> None:
    """It was looked for and not found."""
    with pytest.raises(SettingsError, match="--orthogonal-to c: no direction was found for it; there are a, b"):
        direction_vectors.take_out({"a": np.ones(9, np.float32), "b": -np.ones(9, np.float32)}, ["c"])


def test_an_output_that_exists_is_refused_before_the_work(made: Path, tmp_path: Path) -> None:
    """Not even the data is read."""
    with pytest.raises(OutputError, match="exists; name a directory that doesn't"):
        add_directions(made, tmp_path, (tmp_path / "none", LABELS), Request(), QUICK, lambda _: None)


def test_images_that_are_all_the_same_can_not_be_split(made: Path) -> None:
    """They fall on one side, whatever their labels."""
    data = Dataset(np.zeros((200, 28, 28, 1), np.uint8), "0" * 64)
    column = labels.Column("class", ("a", "b"), np.arange(200) % 2)
    sampler = Sampler(Generator(bundle.load(made), "cpu"), LatentSpec(dim=100, prior="normal"), 1, 1)
    with pytest.raises(SettingsError, match="0 of 200 labelled images are left"):
        directions._looks(data, [labels.Attribute("a", column, 0)], sampler, QUICK, lambda _: None)


def test_realism_is_measured_on_images_from_all_over_the_data(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders are sorted by class: the first ones would be of one."""
    pixels = RANDOM.integers(0, 100, (400, 28, 28, 1), dtype=np.uint8)
    pixels[200:] += 100
    seen: list[np.ndarray] = []
    monkeypatch.setattr(directions, "_REAL", 40)
    monkeypatch.setattr(classifier.Classifier, "look", lambda _, images: (seen.append(images), [np.zeros((1, 2))]))
    monkeypatch.setattr(classifier, "accuracies", lambda *_: [])
    monkeypatch.setattr(directions, "Realism", lambda _: None)
    column = labels.Column("class", ("a", "b"), np.arange(400) // 200)
    sampler = Sampler(Generator(bundle.load(made), "cpu"), LatentSpec(dim=100, prior="normal"), 1, 1)
    plan = Plan(samples=10, shown=200)
    directions._looks(Dataset(pixels, "0" * 64), [labels.Attribute("a", column, 0)], sampler, plan, lambda _: None)
    bright = seen[0].mean((1, 2, 3)) > 100
    assert len(bright) == 40
    assert 8 < bright.sum() < 32


def test_an_accuracy_that_can_not_be_known_is_no_number() -> None:
    """No held-out image says anything of the second column."""
    codes = np.array([[0, labels.UNLABELLED], [1, labels.UNLABELLED]])
    pixels = RANDOM.integers(0, 60, (2, 8, 8, 1), dtype=np.uint8)
    network = classifier.train(pixels, codes, [2, 2], width=2, seed=1, shown=4)
    known, unknown = classifier.accuracies(network, pixels, codes)
    assert np.isfinite(known).all()
    assert np.isnan(unknown).all()


def test_the_card_keeps_the_commands_of_directions_that_stay() -> None:
    """In their order, equal ones once; a strip is linked where there is one."""
    specs = {
        "old": DirectionSpec(min_strength=-1, max_strength=1),
        "new": DirectionSpec(min_strength=0, max_strength=2),
    }
    first, second = "dcgan-train directions BUNDLE --seed 1", "dcgan-train directions BUNDLE --seed 2"
    card = with_section("# x\n\n## Licence\n", "Directions", section({"old": specs["old"]}, [first], []))
    assert commands(card) == [first]
    body = section(specs, [*commands(card), second, second], ["direction-new.png"])
    assert f"```\n{first}\n{second}\n```" in body
    assert "| [new](direction-new.png) |" in body
    assert "| old |" in body


def test_a_direction_of_which_nothing_is_left_is_refused() -> None:
    """It means the same as the one that is taken out of it."""
    with pytest.raises(SettingsError, match="the two mean the same"):
        direction_vectors.take_out({"a": np.ones(9, np.float32), "b": -np.ones(9, np.float32)}, ["a"])


def test_a_direction_to_be_orthogonal_to_must_be_looked_for(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command says which there are, and leaves the bundle alone."""
    before = (made / "manifest.json").read_bytes()
    command = ["directions", str(made), "--data", str(SUBSET), "--labels", str(LABELS), "--orthogonal-to", "smile"]
    assert main(command) == 1
    assert "no such direction is looked for; there are class_0, class_1" in capsys.readouterr().err
    assert (made / "manifest.json").read_bytes() == before


def test_colour_does_not_fit_a_grey_model(made: Path, tmp_path: Path) -> None:
    """Grey images can be seen as RGB, not the other way round."""
    pixels = RANDOM.integers(0, 256, (2, 28, 28, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    with pytest.raises(DataError, match="has colour"):
        add_directions(made, None, (tmp_path, LABELS), Request(), QUICK, lambda _: None)


def test_halves_depend_on_content_alone() -> None:
    """Equal images are on one side, wherever they stand; a tenth of one half is held out."""
    pixels = RANDOM.integers(0, 256, (4000, 8, 8, 1), dtype=np.uint8)
    finders, held_out = halves(pixels)
    assert 0.45 < finders.mean() < 0.55
    assert 0.07 < held_out[finders].mean() < 0.13
    assert not held_out[~finders].any()
    assert np.array_equal(halves(pixels[::-1])[0], finders[::-1])


def test_a_range_ends_where_images_stop_looking_real() -> None:
    """Or sooner, where more strength brings nothing more."""
    shares = {-2: 0.0, -1: 0.01, 0: 0.1, 1: 0.5, 2: 0.8, 3: 0.95, 4: 1.0}
    precisions = {-2: 0.6, -1: 0.6, 0: 0.6, 1: 0.6, 2: 0.5, 3: 0.3, 4: 0.6}
    found = [Reading(strength, share, precisions[strength]) for strength, share in shares.items()]
    assert useful_range(found) == (-1, 2)


def test_a_direction_that_does_nothing_has_no_range() -> None:
    """Its share is the same at every strength."""
    assert useful_range([Reading(strength, 0.1, 0.6) for strength in (-1, 0, 1)]) == (0, 0)


def test_images_far_from_all_real_ones_are_not_realistic() -> None:
    """Half of these are."""
    real = RANDOM.standard_normal((200, 4)).astype(np.float32)
    assert Realism(real).precision(np.concatenate([real[:50], real[:50] + 100])) == 0.5


def test_samples_are_moved_as_the_algebra_moves_them(made: Path) -> None:
    """Added; clipped where the prior is uniform, and nothing else."""
    generator, by = Generator(bundle.load(made), "cpu"), np.full(100, 0.5, np.float32)
    for prior, limit in (("normal", np.inf), ("uniform", 1.0)):
        sampler = Sampler(generator, LatentSpec.model_validate({"dim": 100, "prior": prior}), 1, 1)
        values = sampler.values(0, 30)
        assert np.array_equal(sampler.moved(values, by), np.minimum(values + by, limit))
        assert abs(values.std() - sampler.deviation) < 0.05


def test_a_classifier_learns_each_column_of_what_is_labelled() -> None:
    """Brightness and side, where half the images say nothing of the side."""
    codes = np.stack([np.arange(400) % 2, np.arange(400) // 2 % 2], 1)
    pixels = RANDOM.integers(0, 60, (400, 8, 8, 1), dtype=np.uint8)
    pixels[codes[:, 0] == 1] += 60
    pixels[codes[:, 1] == 1, :4] += 100
    taught = codes.copy()
    taught[::3, 1] = labels.UNLABELLED
    network = classifier.train(pixels, taught, [2, 2], width=4, seed=1, shown=20_000)
    assert min(float(column.min()) for column in classifier.accuracies(network, pixels, codes)) > 0.9


def test_training_a_classifier_leaves_the_random_numbers_of_others_alone() -> None:
    """It gives the same weights whatever was drawn before, and what is drawn after it is what would have been."""
    codes = np.arange(64)[:, None] % 2
    pixels = RANDOM.integers(0, 256, (64, 8, 8, 1), dtype=np.uint8)
    found = []
    for _ in range(2):
        before = torch.get_rng_state()
        network = classifier.train(pixels, codes, [2], width=2, seed=3, shown=256)
        assert torch.equal(torch.get_rng_state(), before)
        found.append(torch.cat([value.flatten() for value in network.parameters()]))
        torch.rand(1)
    assert torch.equal(*found)


def test_a_strip_in_colour_writes_its_strengths_above_the_columns() -> None:
    """Two lines of text, then the images, enlarged to be seen."""
    tiles = RANDOM.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    picture = strips.strip("direction(x)", [-1.0, 0.0, 2.5], tiles)
    assert picture.shape == (34 + 2 * 50 + 2, 3 * 50 + 2, 3)
    assert picture[18:34].min() < 100
    assert np.array_equal(picture[36 : 36 + 48 : 3, 2 : 2 + 48 : 3], tiles[0])


@pytest.mark.parametrize(("low", "high"), [(-1.0, 2.0), (0.0, 3.0), (-2.0, 0.0)])
def test_strengths_of_a_strip_span_the_useful_range(low: float, high: float) -> None:
    """Seven of them, rising, 0 among them."""
    strengths = strips.strengths_of(low, high)
    assert (strengths[0], strengths[-1], len(strengths)) == (low, high, 7)
    assert strengths == sorted(strengths)
    assert 0 in strengths


def test_a_direction_asked_for_by_name_is_not_left_out_silently() -> None:
    """One of many that are offered is, with a line."""
    column = labels.Column("class", ("a", "b"), np.zeros(2, np.int64))
    lines: list[str] = []
    directions._leave_out(labels.Attribute("a", column, 0), "too few", False, lines.append)
    assert lines == ["a is left out: too few"]
    with pytest.raises(SettingsError, match="--attribute a: too few"):
        directions._leave_out(labels.Attribute("a", column, 0), "too few", True, lines.append)
