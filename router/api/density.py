"""How much JSON a body may hold by its bytes: a megabyte of empty lists takes twenty-five times that once it is read.

orjson and Python's reader hold the interpreter meanwhile, so that every stream of the router stands still, and what
they made stays for as long as the request runs. On one core, 4 MiB read and checked: of text 6 ms, of `[]` 110 ms and
95 MiB, of lists within lists 250 ms and 155 MiB, of fields with a space after the colon 350 ms.
"""

from router.errors import TooLarge


def check_density(raw: bytes, most_fields: int, most_items: int) -> None:
    """Raise TooLarge where a body holds more lists, objects and fields, or items of lists and objects, than may be.

    A body of fewer bytes is not looked at. A larger one is counted as it is (1 ms/MiB); only where commas or brackets
    of its texts may be among what was counted, is it counted again without them.
    """
    if len(raw) <= min(most_fields, most_items):
        return
    if _fields(raw) > most_fields or raw.count(b",") > most_items:
        outside = _without_texts(raw, most_fields + most_items + 1)
        _refuse_above(most_fields, _fields(outside), "lists, objects and fields", "limits.body_fields")
        _refuse_above(most_items, outside.count(b","), "items", "limits.body_items")


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
