"""Text in Matplotlib's figures as it is."""


def literal(text: str) -> str:
    """Return text in which dollars are no mathematics for Matplotlib, whose formulas may be faulty."""
    return text.replace("$", r"\$")
