"""Protocol Buffers' wire format: lists the fields of a message in a file without its contents."""

import dataclasses
import io
from collections.abc import Iterator

import numpy as np

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # Wire types.
_FIXED_SIZE = {FIXED64: 8, FIXED32: 4}
_RECORDS_AT_ONCE = 1 << 18


class WireError(ValueError):
    """Raised where bytes can't be a message. The text says why, as a clause."""


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a message, or a run of consecutive numbers of one field.

    Attributes:
      number: The field's number.
      wire_type: VARINT, FIXED64, BYTES or FIXED32.
      start, end: The value's place in the file, in bytes. For a run of FIXED32 or FIXED64, they
        are the start of the first value and the end of the last one; a one-byte tag precedes each.
      value: The value of a VARINT; otherwise 0.
    """

    number: int
    wire_type: int
    start: int
    end: int
    value: int = 0


def fields(file: io.BufferedIOBase, start: int, end: int) -> Iterator[Field]:
    """Lists the fields of the message between two places of a file.

    Strings, packed arrays and inner messages are skipped by seeking. The file's position may change
    between fields.

    Raises:
      WireError: The bytes aren't a message, or a field reaches beyond the end.
    """
    position = start
    while position < end:
        file.seek(position)
        field = _field(file, end)
        if field.end > end:
            raise WireError(
                f"field {field.number} at byte {position:,} should have "
                f"{field.end - field.start:,} bytes, but {max(end - field.start, 0):,} are left"
            )
        yield field
        position = field.end


def varints(data: bytes) -> list[int]:
    """Returns the numbers of a packed field of varints.

    Raises:
      WireError: The last number is incomplete.
    """
    numbers, number, shift = [], 0, 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            numbers.append(number)
            number, shift = 0, 0
    if shift:
        raise WireError("a number is incomplete")
    return numbers


def _field(file: io.BufferedIOBase, end: int) -> Field:
    first = file.tell()
    tag = _varint(file)
    number, wire_type, start = tag >> 3, tag & 7, file.tell()
    if not number:
        raise WireError(f"there is no field at byte {first:,}")
    if wire_type == VARINT:
        value = _varint(file)
        return Field(number, wire_type, start, file.tell(), value)
    if wire_type == BYTES:
        length = _varint(file)
        start = file.tell()
        return Field(number, wire_type, start, start + length)
    if wire_type in _FIXED_SIZE:
        size = _FIXED_SIZE[wire_type]
        records = _run_length(file, first, end, tag, 1 + size) if start == first + 1 else 1
        return Field(number, wire_type, start, start + size + (records - 1) * (1 + size))
    raise WireError(f"there is no field at byte {first:,}")


def _run_length(file: io.BufferedIOBase, start: int, end: int, tag: int, record: int) -> int:
    """Counts the consecutive records that begin with one tag. Each is a tag and a number."""
    count, limit = 0, max(1, (end - start) // record)
    while count < limit:
        file.seek(start + count * record)
        wanted = min(limit - count, _RECORDS_AT_ONCE)
        tags = np.frombuffer(file.read(wanted * record), np.uint8)[::record]
        others = np.flatnonzero(tags != tag)
        if len(others):
            return count + int(others[0])
        if not len(tags):
            break
        count += len(tags)
    return count


def _varint(file: io.BufferedIOBase) -> int:
    number = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise WireError("it ends within a number")
        number |= (byte[0] & 0x7F) << shift
        if not byte[0] & 0x80:
            return number
    raise WireError(f"a number at byte {file.tell():,} has too many digits")
