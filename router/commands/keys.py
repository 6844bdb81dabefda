"""`alpharoute keys`: make, list, rotate and revoke API keys, in the keys file or in Redis."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import orjson
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from router.access.key_places import KeyPlace, NoSuchKey, place_of
from router.access.keys import Key, KeyLimits, WeakKey, check_strength, hash_of, new_key, rotated
from router.config.load import load_settings
from router.errors import SetupError
from router.roles import Role

app = typer.Typer(no_args_is_help=True, help="API keys: who may use the service, and how much.")

stderr = Console(stderr=True)

REFUSED = 1
USAGE_ERROR = 2


class Where(StrEnum):
    """Where keys are kept."""

    FILE = "file"
    REDIS = "redis"


ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="A YAML file of settings.")]
FileOption = Annotated[Path | None, typer.Option("--file", help="The keys file; unset: auth.keys_file.")]
WhereOption = Annotated[Where | None, typer.Option("--in", help="Needed where both places are set.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OwnOption = Annotated[bool, typer.Option("--from-stdin", help="Take a key of your own from standard input.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Its id.")],
    role: Annotated[Role, typer.Option(help="What it may do.")] = Role.CLIENT,
    segment: Annotated[list[str] | None, typer.Option(help="A segment it may name; the first is its own.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="Most requests in a minute.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help="Most tokens in a minute.")] = None,
    concurrent: Annotated[int | None, typer.Option(help="Most requests at a time.")] = None,
    expires: Annotated[str | None, typer.Option(help="When it ends: 90d, 12h, or 2027-01-31.")] = None,
    from_stdin: OwnOption = False,
    config: ConfigOption = None,
    file: FileOption = None,
    where: WhereOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key. It is shown once, on standard output, and nowhere kept: only its hash is."""
    secret = _secret(from_stdin)
    limits = {
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "concurrent": concurrent,
    }
    try:
        key = Key(
            id=name,
            hash=hash_of(secret),
            role=role,
            segments=tuple(segment or ()),
            limits=KeyLimits.model_validate(limits),
            expires=None if expires is None else _ahead(expires),
        )
    except ValidationError as error:
        raise _failed("; ".join(f"{d['loc'][-1]}: {d['msg']}" for d in error.errors()), USAGE_ERROR) from None
    _do(lambda place: place.add(key), config, file, where)
    _show_once(key, secret, as_json)


@app.command("list")
def list_keys(
    config: ConfigOption = None, file: FileOption = None, where: WhereOption = None, as_json: JsonOption = False
) -> None:
    """What is stored of every key."""
    keys: list[Key] = []

    async def read(place: KeyPlace) -> None:
        keys.extend(await place.all())

    _do(read, config, file, where)
    if as_json:
        _print_json([_public(key) for key in keys])
    else:
        Console().print(_table(keys))


@app.command()
def rotate(
    name: Annotated[str, typer.Argument(help="Its id.")],
    overlap: Annotated[str, typer.Option(help="How long the present key is still taken: 24h, 7d, 0s.")] = "24h",
    from_stdin: OwnOption = False,
    config: ConfigOption = None,
    file: FileOption = None,
    where: WhereOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a key a new secret; its id, role and limits stay, and the present secret works on for a while."""
    secret, until = _secret(from_stdin), moment(overlap)
    changed: list[Key] = []

    async def change(place: KeyPlace) -> None:
        changed.append(await place.change(name, lambda key: rotated(key, secret, until)))

    _do(change, config, file, where)
    _show_once(changed[0], secret, as_json)


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Its id.")],
    config: ConfigOption = None,
    file: FileOption = None,
    where: WhereOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a key away; routers refuse it within auth.refresh_s."""
    _do(lambda place: place.remove(name), config, file, where)
    if as_json:
        _print_json({"id": name, "revoked": True})
    else:
        stderr.print(f"{name} is revoked.", highlight=False)


def moment(text: str, now: datetime | None = None) -> datetime:
    """A time as people write it: from now on (90d, 12h, 30m, 0s) or a date, in UTC unless it says otherwise."""
    units = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
    number, unit = text[:-1], text[-1:]
    if number.isascii() and number.isdecimal() and len(number) < 6 and unit in units:
        return (now or datetime.now(UTC)).replace(microsecond=0) + timedelta(**{units[unit]: int(number)})
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise _failed(f"A time is 90d, 12h, 30m or 2027-01-31, not {text!r}.", USAGE_ERROR) from None
    return given if given.tzinfo is not None else given.replace(tzinfo=UTC)


def _ahead(text: str) -> datetime:
    """A time at which a new key may end."""
    given = moment(text)
    if given <= datetime.now(UTC):
        raise _failed(f"--expires must be a time to come, or the key is of no use; {text!r} is not.", USAGE_ERROR)
    return given


def _secret(from_stdin: bool) -> str:
    if not from_stdin:
        return new_key()
    secret = sys.stdin.readline().strip()
    try:
        check_strength(secret)
    except WeakKey as error:
        raise _failed(str(error), USAGE_ERROR) from None
    return secret


def _do(
    work: Callable[[KeyPlace], Awaitable[None]], config: Path | None, file: Path | None, where: Where | None
) -> None:
    async def run() -> None:
        settings = load_settings(config)
        async with place_of(settings.auth, settings.redis, file, None if where is None else where.value) as place:
            await work(place)

    try:
        asyncio.run(run())
    except NoSuchKey as error:
        raise _failed(str(error), REFUSED) from None
    except SetupError as error:
        raise _failed(str(error), USAGE_ERROR) from None


def _failed(why: str, status: int) -> typer.Exit:
    stderr.print(Text(why, style="red"), soft_wrap=True)
    return typer.Exit(status)


def _show_once(key: Key, secret: str, as_json: bool) -> None:
    if as_json:
        _print_json({**_public(key), "key": secret})
        return
    stderr.print(_table([key]))
    stderr.print("The key, which is not shown again:", highlight=False)
    sys.stdout.write(secret + "\n")


def _public(key: Key) -> dict[str, object]:
    return {**key.model_dump(mode="json", exclude={"former"}), "former_until": key.former and key.former.until}


def _print_json(said: object) -> None:
    sys.stdout.write(orjson.dumps(said, option=orjson.OPT_INDENT_2).decode() + "\n")


def _table(keys: Sequence[Key]) -> Table:
    table = Table("id", "role", "segments", "limits", "expires", "former key until", "hash", title="API keys")
    now_s = datetime.now(UTC).timestamp()
    for key in keys:
        limits = ", ".join(f"{what} {limit}" for what, limit in key.limits if limit is not None) or "none"
        ends = "never" if key.expires is None else f"{key.expires:%Y-%m-%d %H:%M}" + " (over)" * key.expired(now_s)
        former = "–" if key.former is None else f"{key.former.until:%Y-%m-%d %H:%M}"
        table.add_row(key.id, key.role, ", ".join(key.segments) or "any", limits, ends, former, f"{key.hash[:15]}…")
    return table
