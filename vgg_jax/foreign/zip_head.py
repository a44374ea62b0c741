"""The first bytes of a ZIP archive, by which archives of different packages are told apart."""

_SIGNATURE = b"PK\x03\x04"
_NAME_AT = 30  # The name follows the fixed part of the first member's header.


def first_member(head: bytes) -> str:
    """Returns the name of an archive's first member; "" if these bytes begin no ZIP archive."""
    if not head.startswith(_SIGNATURE):
        return ""
    length = int.from_bytes(head[26:28], "little")
    return head[_NAME_AT : _NAME_AT + length].decode("utf-8", "replace")
