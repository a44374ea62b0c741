"""Text of others, such as names of classes and images, made safe for terminals and spreadsheets."""

import unicodedata

# Control characters, which a terminal may obey; characters that turn the direction of a line, or
# end it; and bytes that were not UTF-8.
_ESCAPED = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINERS = "\u200c\u200d"  # Some scripts write words with them.

# A spreadsheet takes a cell that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@")


def printable(text: str) -> str:
    r"""Returns a text with control characters as Python writes them, for example ESC as \x1b."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) for c in text)


def lines(text: str) -> str:
    """Returns a text of several lines, each of them printable."""
    return "\n".join(map(printable, text.split("\n")))


def cell(text: str) -> str:
    """Returns a printable text that no spreadsheet takes for a formula.

    A quote in front says to a spreadsheet that a cell is text.
    """
    return printable(f"'{text}" if text.startswith(_FORMULA) else text)


def _escaped(character: str) -> str:
    if character in _JOINERS or unicodedata.category(character) not in _ESCAPED:
        return character
    return character.encode("unicode_escape").decode()


def file_part(text: str, also: str = "._") -> str:
    """Returns a text as part of a file's name: letters, digits, the characters of `also`, and _."""
    return "".join(c if c.isalnum() or c in also else "_" for c in text)
