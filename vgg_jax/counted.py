"""Numbers of things as text."""


def counted(number: int, things: str, thing: str = "") -> str:
    """Returns a number and its noun, for example "1 epoch" or "2,000 epochs".

    Args:
      number: The number.
      things: The noun in the plural.
      thing: The noun in the singular, if it isn't the plural without its last letter.
    """
    return f"{number:,} {things if number != 1 else thing or things[:-1]}"
