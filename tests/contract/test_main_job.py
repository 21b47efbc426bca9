"""The main job, end to end: real images are trained on, exported, served by the real server, and asked for."""

import numpy as np

import dcgan as client_package
import runs
from dcgan import images
from dcgan_training.cli import main
from processes import dcgan, serve


def test_images_on_disk_become_pictures_over_grpc(tmp_path):
    """A short run on the shipped subset; every step by the command that a user types."""
    run, bundle, pictures = tmp_path / "run", tmp_path / "bundle", tmp_path / "pictures"
    runs.trained(run)
    assert main(["export", str(run), "--output", str(bundle), "--name", "tiny", "--version", "1"]) == 0
    assert dcgan("verify", bundle).returncode == 0
    with serve(bundle) as serving:
        assert dcgan("health", "--target", serving.target).returncode == 0
        drawn = dcgan("sample", "--target", serving.target, "--seed", 7, "--count", 3, "--output", pictures)
        assert drawn.returncode == 0, drawn.stderr
        with client_package.connect(serving.target) as client:
            model = client.model()
            samples = client.sample(3, seed=7, include_latents=True)
    assert (model.identity.name, model.identity.version, model.golden_exact) == ("tiny", "1", True)
    assert (model.height, model.width, model.channels) == (28, 28, 1)
    assert model.training.images_seen == 1280
    assert samples.images.shape == (3, 28, 28, 1)
    assert sorted(path.name for path in pictures.iterdir()) == [f"seed-7-index-{index}.png" for index in range(3)]
    for index, image in enumerate(samples.images):
        written = images.decode((pictures / f"seed-7-index-{index}.png").read_bytes())
        np.testing.assert_array_equal(written, image)
