"""The Admin API as commands ask it: one place for the address, the key, and what went wrong in a sentence."""

import contextlib
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import orjson
import typer
from rich.console import Console
from rich.text import Text

from policies.errors import Problem
from policies.warnings import said
from router.config.check import API_KEY, SERVICE_URL
from router.direct import open_url
from router.errors import SetupError

stderr = Console(stderr=True)
PIPED_COLUMNS = 200
stdout = Console(width=None if sys.stdout.isatty() else PIPED_COLUMNS)
"""Tables are as wide as the terminal; where another program reads, wide enough not to be cut."""

OK, REFUSED, UNUSABLE = 0, 1, 2
"""Exit codes: done; the answer is no; the command was used wrongly, or nobody could be asked."""

LIMIT_S = 90.0
DEFAULT_URL = "http://127.0.0.1:8000"

Row = dict[str, Any]
"""A decoded JSON object; docs/admin-api.md has the shapes."""

UrlOption = Annotated[str, typer.Option("--url", envvar=SERVICE_URL, help="The service, or its admin port.")]
KeyOption = Annotated[
    str, typer.Option("--key", envvar=API_KEY, show_envvar=True, help="An operator's API key, where it wants one.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
WhyOption = Annotated[str, typer.Option("--why", "-m", help="Why, for the audit trail.")]


class Refused(Exception):
    """The service said no; `error` is its error object."""

    def __init__(self, status: int, error: Row) -> None:
        self.status = status
        self.error = error
        super().__init__(str(error.get("message", f"The service answered {status}.")))


class Unreachable(Exception):
    """Nobody could be asked; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A decoded answer and its ETag, empty where it has none."""

    body: Row
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Client:
    """Asks a running service."""

    url: str = DEFAULT_URL
    key: str = ""

    def get(self, path: str, **query: object) -> Row:
        """What is at a path under /admin/v1; parameters that are None or empty are left out."""
        given = {name: value for name, value in query.items() if value not in (None, "")}
        return self.ask("GET", path + (f"?{urlencode(given)}" if given else "")).body

    def post(self, path: str, body: Row, if_match: str = "") -> Row:
        """Have something done."""
        return self.ask("POST", path, body, if_match).body

    def ask(self, method: str, path: str, body: Row | None = None, if_match: str = "") -> Reply:
        """One request; raises Refused and Unreachable."""
        headers = {"accept": "application/json"}
        if self.key:
            headers["authorization"] = f"Bearer {self.key}"
        if if_match:
            headers["if-match"] = if_match
        data = None
        if body is not None:
            data, headers["content-type"] = orjson.dumps(body), "application/json"
        address = f"{self.url.rstrip('/')}/admin/v1{path}"
        try:
            asked = urllib.request.Request(address, data, headers, method=method)
            with open_url(asked, LIMIT_S) as answer:
                raw = answer.read()
                return Reply(orjson.loads(raw) if raw else {}, answer.headers.get("etag", ""))
        except urllib.error.HTTPError as error:
            raise self._refused(error) from None
        except orjson.JSONDecodeError:
            raise Unreachable(f"{self.url} is no Alpharoute: it answers, but not in JSON. Check --url.") from None
        except (OSError, ValueError) as error:
            why = getattr(error, "reason", error)
            raise Unreachable(
                f"No Alpharoute answers at {self.url} ({why}). Start one with `alpharoute serve`, or name the one "
                f"to ask with --url or {SERVICE_URL}."
            ) from None

    def _refused(self, error: urllib.error.HTTPError) -> Refused | Unreachable:
        try:
            said = orjson.loads(error.read())["error"]
        except (orjson.JSONDecodeError, KeyError, TypeError, OSError):
            return Unreachable(f"{self.url} is no Alpharoute: it answers {error.code}. Check --url.")
        if error.code in (401, 403):
            return Unreachable(f"{said.get('message', 'Not allowed.')} Set {API_KEY} (or --key) to one that may.")
        if error.code == 404 and said.get("code") == "unknown_route":
            return Unreachable(
                f"{self.url} has no Admin API on this port: with admin.port set it answers there alone. Check --url."
            )
        if error.code == 503:
            return Unreachable(str(said.get("message", "The service cannot do this now.")))
        return Refused(error.code, said)


def place(name: str) -> str:
    """A name as a part of a path."""
    return quote(name, safe="")


def print_json(said: object) -> None:
    """JSON for another program, on standard output."""
    sys.stdout.write(orjson.dumps(said, option=orjson.OPT_INDENT_2).decode() + "\n")


@contextlib.contextmanager
def talking(as_json: bool = False) -> Iterator[None]:
    """Whatever goes wrong inside is said, and ends the command with the code for it.

    With --json a refusal is printed whole, for it may carry more than a sentence.
    """
    try:
        yield
    except Refused as error:
        if as_json:
            print_json({"error": error.error})
        else:
            complain(str(error))
            for problem in error.error.get("problems", ()):
                complain("  " + problem_line(problem))
        raise typer.Exit(REFUSED) from None
    except (Unreachable, SetupError) as error:
        complain(str(error))
        raise typer.Exit(UNUSABLE) from None
    except KeyError as error:
        complain(f"The answer lacks {error}: is the service of another version than this command?")
        raise typer.Exit(UNUSABLE) from None


def problem_line(problem: Row) -> str:
    """One problem of a policy: path, what is wrong, the nearest right name, what is allowed."""
    hint = f"; did you mean {problem['nearest']!r}?" if problem.get("nearest") else ""
    allowed = f" (allowed: {', '.join(map(str, problem['allowed']))})" if problem.get("allowed") else ""
    return f"{problem['path']}: {problem['message']}{hint}{allowed}"


def complain(text: str) -> None:
    """A line in red on standard error."""
    stderr.print(Text(text, style="red"), soft_wrap=True)


def warn(warnings: list[Row]) -> None:
    """What looks like a slip in a policy, in yellow on standard error."""
    for one in warnings:
        problem = Problem(one["path"], one["value"], one["message"], tuple(one["allowed"]), one["nearest"])
        stderr.print(Text(f"warning: {said(problem)}", style="yellow"), soft_wrap=True)


def tell(text: str) -> None:
    """A line on standard output."""
    stdout.print(text, highlight=False, soft_wrap=True, markup=False)


def moment(at_s: float | None) -> str:
    """A time in the local time zone; a dash for none."""
    return "–" if not at_s else f"{datetime.fromtimestamp(at_s).astimezone():%m-%d %H:%M:%S}"


def share(value: float) -> str:
    """A share as a percentage."""
    return f"{value:.0%}"
