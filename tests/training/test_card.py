import pytest

from dcgan import bundle
from dcgan_training.card import model_card, with_section
from runs import settings

CARD = "# m 1\n\nA model.\n\n## Limits\n\nMany.\n\n## Licence\n\nMIT.\n"


@pytest.mark.parametrize(
    ("cooldown", "seen", "trained", "newest"),
    [(0, 600, 600, True), (300, 600, 1000, False), (300, 1024, 1000, True)],
    ids=["no cooldown", "best of a cooldown", "end of a cooldown"],
)
def test_the_card_s_commands_lead_to_the_checkpoint_that_was_exported(
    cooldown: int, seen: int, trained: int, newest: bool
) -> None:
    """A run without cooldown ends there; one with must go on, and has its best checkpoint before."""
    made = bundle.load(bundle.locate("fashion")).manifest
    manifest = made.model_copy(update={"training": made.training.model_copy(update={"images_seen": seen})})
    card = model_card(manifest, settings(images=1000, cooldown_images=cooldown))
    assert f" --images {trained} --output RUN" in card
    assert ("dcgan-train export RUN --output fashion --checkpoint newest\n" in card) == newest
    assert ("dcgan-train export RUN --output fashion\n" in card) != newest


def test_a_new_section_comes_before_the_licence() -> None:
    """And everything else stays as it was."""
    assert with_section(CARD, "Score", "Text.\n") == CARD.replace("## Licence", "## Score\n\nText.\n\n## Licence")


def test_a_section_is_replaced_in_its_place() -> None:
    """So that whoever adds a part twice tells of it once."""
    two = with_section(with_section(CARD, "Score", "Old."), "Encoder", "Text.")
    assert with_section(two, "Score", "New.") == two.replace("Old.", "New.")
