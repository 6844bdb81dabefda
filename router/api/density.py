"""How much JSON a body may hold by its bytes: a megabyte of empty lists takes twenty-five times that once it is read.

orjson and Python's reader hold the interpreter meanwhile, so that every stream of the router stands still, and what
they made stays for as long as the request runs. On one core, 4 MiB read and checked: of text 6 ms, of `[]` 110 ms and
95 MiB, of lists within lists 250 ms and 155 MiB, of fields with a space after the colon 350 ms.
"""

from router.api.body_room import FREE_BYTES
from router.errors import TooLarge

FIELD_BYTES, ITEM_BYTES = 96, 64
"""What one takes once it is read: an empty list 65 bytes with its place, `{"k1":500}` 270, a text of two letters 59."""


def check_density(raw: bytes, most_fields: int, most_items: int) -> int:
    """About how many bytes a body takes, with what is read of it; commas and brackets of its texts may be among these.

    Raises TooLarge where it holds more lists, objects and fields, or items of lists and objects, than may be. A body of
    fewer bytes is not looked at. A larger one is counted as it is (1 ms/MiB); only where what its texts hold may be
    why it has too many, is it counted again without them.
    """
    if len(raw) <= min(most_fields, most_items, FREE_BYTES):
        return len(raw)
    fields, items = _fields(raw), raw.count(b",")
    if fields > most_fields or items > most_items:
        outside = _without_texts(raw, most_fields + most_items + 1)
        fields, items = _fields(outside), outside.count(b",")
        _refuse_above(most_fields, fields, "lists, objects and fields", "limits.body_fields")
        _refuse_above(most_items, items, "items", "limits.body_items")
    return len(raw) + FIELD_BYTES * fields + ITEM_BYTES * items


def _fields(raw: bytes) -> int:
    return raw.count(b"[") + raw.count(b"{") + raw.count(b":")


def _without_texts(raw: bytes, most: int) -> bytes:
    """The JSON without its texts. Each is a field's name, the first in a list or object, or follows a comma."""
    plain = raw.replace(rb"\\", b"").replace(rb"\"", b"")  # in this order every quote left begins or ends a text
    _refuse_above(most, plain.count(b'"') // 2, "texts", "limits.body_fields with limits.body_items")
    return b"".join(plain.split(b'"')[::2])


def _refuse_above(most: int, found: int, what: str, setting: str) -> None:
    if found > most:
        message = f"The body holds {found:,} {what}; {setting} allows {most:,}."
        raise TooLarge(message, code="body_too_dense")
