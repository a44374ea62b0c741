"""What the readers of ZIP archives share."""

import struct
import zipfile
import zlib
from typing import BinaryIO

SIGNATURE = b"PK\x03\x04"
# The errors with which zipfile and its readers meet damaged archives. RuntimeError is for
# encryption, and for a compression that zipfile doesn't know.
ERRORS = (
    *(zipfile.BadZipFile, zlib.error, struct.error, ValueError, EOFError, OverflowError),
    RuntimeError,
)
_HEADER = struct.Struct("<4s22xHH")  # The signature, and the lengths of the name and the extra.


def first_member(head: bytes) -> str:
    """Returns the name of an archive's first member; "" if these bytes begin no ZIP archive."""
    if not head.startswith(SIGNATURE) or len(head) < _HEADER.size:
        return ""
    _, name_bytes, _ = _HEADER.unpack_from(head)
    return head[_HEADER.size : _HEADER.size + name_bytes].decode("utf-8", "replace")


def start_of(file: BinaryIO, member: zipfile.ZipInfo) -> int:
    """Returns the byte at which a member's data begin, after its header.

    Raises:
      ValueError: The header is missing or garbled.
    """
    if member.header_offset < 0:  # zipfile counts from the archive's end.
        raise ValueError(f"bytes are missing before the header of {member.filename}")
    file.seek(member.header_offset)
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size or not header.startswith(SIGNATURE):
        raise ValueError(f"the header of {member.filename} is missing")
    _, name_bytes, extra_bytes = _HEADER.unpack(header)
    return member.header_offset + _HEADER.size + name_bytes + extra_bytes
