from dcgan_training.card import with_section

CARD = "# m 1\n\nA model.\n\n## Limits\n\nMany.\n\n## Licence\n\nMIT.\n"


def test_a_new_section_comes_before_the_licence() -> None:
    """And everything else stays as it was."""
    assert with_section(CARD, "Score", "Text.\n") == CARD.replace("## Licence", "## Score\n\nText.\n\n## Licence")


def test_a_section_is_replaced_in_its_place() -> None:
    """So that whoever adds a part twice tells of it once."""
    two = with_section(with_section(CARD, "Score", "Old."), "Encoder", "Text.")
    assert with_section(two, "Score", "New.") == two.replace("Old.", "New.")
