"""`alpharoute classifier versions|activate|rollback`: which classifier a running service uses."""

from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from router.commands.client import (
    DEFAULT_URL,
    Client,
    JsonOption,
    KeyOption,
    Row,
    UrlOption,
    WhyOption,
    complain,
    moment,
    print_json,
    stdout,
    talking,
    tell,
)


def versions(url: UrlOption = DEFAULT_URL, key: KeyOption = "", as_json: JsonOption = False) -> None:
    """List the classifiers that a running service can use, with what each was trained on and how it was scored."""
    with talking(as_json):
        found = Client(url, key).get("/classifier/versions")
    if as_json:
        print_json(found)
        return
    stdout.print(versions_table(found))
    if chosen := found["chosen"]:
        tell(f"Chosen by {chosen['by']}, {moment(chosen['at_s'])}" + (f": {chosen['why']}" if chosen["why"] else ""))
    if found["problem"]:
        complain(f"Not in use in router {found['router']}: {found['problem']}")


def activate(
    sha256: Annotated[
        str, typer.Argument(metavar="SHA256", help='Its hash, at least 8 digits; "settings": what they name.')
    ],
    why: WhyOption = "",
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Use another classifier in all routers of a running service, without a restart."""
    named = None if sha256 == "settings" else sha256.lower()
    _choose("activate", {"sha256": named, "why": why}, Client(url, key), as_json)


def rollback(
    why: WhyOption = "", url: UrlOption = DEFAULT_URL, key: KeyOption = "", as_json: JsonOption = False
) -> None:
    """Use the classifier before again, in all routers of a running service."""
    _choose("rollback", {"why": why}, Client(url, key), as_json)


def versions_table(found: Row) -> Table:
    """A row for each version."""
    names = ("", "SHA-256", "macro-F1", "calibration error", "examples", "scikit-learn", "note", "folder")
    table = Table(*names, title="Classifiers")
    for one in found["versions"]:
        from_card = one["provenance"]
        score = [f"{one['scores'][name]:.3f}" if name in one["scores"] else "–" for name in ("macro_f1_tasks", "ece")]
        data: dict[str, Any] = from_card.get("data") or {}
        count = sum(part.get("examples", 0) for part in data.values() if isinstance(part, dict))
        cells = (
            "in use" if one["in_use"] else "",
            (one["sha256"] or "unusable")[:12],
            *score,
            f"{count:,}" if count else "–",
            (from_card.get("libraries") or {}).get("scikit-learn", "–"),
            one["problem"] or str(from_card.get("note") or ""),
            one["folder"],
        )
        table.add_row(*(Text(cell) for cell in cells), style="red" if one["problem"] else "")
    return table


def _choose(what: str, body: Row, client: Client, as_json: bool) -> None:
    with talking(as_json):
        found = client.post(f"/classifier/{what}", body)
    if as_json:
        print_json(found)
        return
    tell(f"Classifier {found['version'][:12]} is in use here; the other routers follow within two seconds.")
