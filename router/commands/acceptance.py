"""`alpharoute acceptance`: the α table of a running service."""

import urllib.error
import urllib.request
from typing import Any

import orjson
from rich.table import Table

from router.errors import SetupError


def read_acceptance(url: str, key: str = "") -> list[dict[str, Any]]:
    """The rows of /admin/v1/acceptance; raises SetupError where nobody answers there, or not to this API key."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        asked = urllib.request.Request(f"{url.rstrip('/')}/admin/v1/acceptance", headers=headers)
        with urllib.request.urlopen(asked, timeout=10) as answer:
            rows: list[dict[str, Any]] = orjson.loads(answer.read())["acceptance"]
            return rows
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):
            raise SetupError(f"{url} answers {error.code} to a question about acceptance.") from None
        raise SetupError(f"{url} wants a key with the role operator: set ALPHAROUTE_KEY.") from None
    except (OSError, KeyError, ValueError) as error:
        raise SetupError(f"No Alpharoute answers at {url} ({error}). Start one with `alpharoute serve`.") from None


def acceptance_table(title: str, rows: list[dict[str, Any]]) -> Table:
    """Acceptance by task and temperature; survival is P(the first i drafts are all accepted)."""
    table = Table("task", "temperature", "drafter", "α", "survival S(1), S(2), …", "drafts seen", title=title)
    for row in rows:
        survival = " ".join(f"{share:.2f}" for share in row["survival"])
        drafter = row["drafter"].rsplit("/", 1)[-1]
        table.add_row(row["task"], row["temperature"], drafter, f"{row['alpha']:.2f}", survival, f"{row['drafts']:.0f}")
    return table
