"""`alpharoute keys`: what each command does, prints and exits with."""

import asyncio
import json
import shlex
import stat
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from doorway import doorway
from typer.testing import CliRunner, Result

from router.access.key_file import read_keys
from router.access.keys import Keyring, new_key
from router.cli import app
from router.commands.keys import moment
from router.roles import Role

NOW_S = datetime.now(UTC).timestamp()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the keys are."""
    return tmp_path / "keys.yaml"


def _run(*arguments: object, stdin: str | None = None, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(app, ["keys", *map(str, arguments)], input=stdin, env=env)


def test_a_key_is_made_and_shown_once(file: Path) -> None:
    """On standard output stands the key alone, so that a shell can take it; the file has its hash only."""
    made = _run("create", "team-a", "--file", file)
    assert made.exit_code == 0
    secret = made.stdout.strip()
    found = Keyring(read_keys(file)).find(secret, NOW_S)
    assert found is not None
    assert (found.id, found.role) == ("team-a", Role.CLIENT)
    assert secret not in file.read_text()
    assert secret not in _run("list", "--file", file).stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_all_that_a_key_may_have(file: Path) -> None:
    """Role, segments, limits and an end, as they stand in the file afterwards."""
    options = ["--role", "operator", "--segment", "gold", "--segment", "silver", "--requests-per-minute", "60"]
    options += ["--tokens-per-minute", "9000", "--concurrent", "4", "--expires", "90d"]
    made = _run("create", "ops", *options, "--file", file, "--json")
    said = json.loads(made.stdout)
    assert said["key"].startswith("ar-")
    (stored,) = yaml.safe_load(file.read_text())["keys"]
    assert stored["limits"] == {"requests_per_minute": 60, "tokens_per_minute": 9000, "concurrent": 4}
    assert (stored["role"], stored["segments"]) == ("operator", ["gold", "silver"])
    (key,) = read_keys(file)
    assert key.expires is not None
    assert 89 < (key.expires.timestamp() - NOW_S) / 86400 < 91


def test_rotation_takes_both_keys_for_a_while(file: Path) -> None:
    """The new one is printed, the former works until the overlap ends; with 0s it ends at once."""
    old = _run("create", "a", "--file", file).stdout.strip()
    new = _run("rotate", "a", "--overlap", "2h", "--file", file).stdout.strip()
    ring = Keyring(read_keys(file))
    assert ring.find(old, NOW_S) is not None
    assert ring.find(new, NOW_S) is not None
    assert ring.find(old, NOW_S + 3 * 3600) is None
    newest = _run("rotate", "a", "--overlap", "0s", "--file", file, "--json")
    ring = Keyring(read_keys(file))
    assert ring.find(new, datetime.now(UTC).timestamp() + 1) is None
    assert ring.find(json.loads(newest.stdout)["key"], NOW_S) is not None


def test_a_revoked_key_is_gone(file: Path) -> None:
    """Others stay."""
    gone, kept = (_run("create", name, "--file", file).stdout.strip() for name in ("gone", "kept"))
    assert _run("revoke", "gone", "--file", file).exit_code == 0
    ring = Keyring(read_keys(file))
    assert ring.find(gone, NOW_S) is None
    assert ring.find(kept, NOW_S) is not None


def test_what_is_listed(file: Path) -> None:
    """A table for people, JSON for programs; never a key."""
    _run("create", "team-a", "--requests-per-minute", 60, "--file", file)
    _run("create", "new", "--expires", "2999-01-01", "--file", file)
    table = _run(
        "list",
        "--file",
        file,
    ).stdout
    assert "team-a" in table
    assert "API keys" in table
    rows = json.loads(_run("list", "--file", file, "--json").stdout)
    assert [row["id"] for row in rows] == ["team-a", "new"]
    assert rows[0]["limits"]["requests_per_minute"] == 60
    assert rows[1]["expires"].startswith("2999-01-01T00:00:00")


@pytest.mark.parametrize("command", ["rotate", "revoke"])
def test_a_key_that_is_not_there_is_1(file: Path, command: str) -> None:
    """The message names it."""
    _run("create", "a", "--file", file)
    got = _run(command, "nobody", "--file", file)
    assert got.exit_code == 1
    assert "nobody" in got.stderr


def test_an_id_that_is_taken_is_1(file: Path) -> None:
    """Nothing is overwritten."""
    _run("create", "a", "--file", file)
    before = file.read_text()
    assert _run("create", "a", "--file", file).exit_code == 1
    assert file.read_text() == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["create", "a b"], "id"),
        (["create", "a", "--expires", "soon"], "90d"),
        (["create", "a", "--expires", "2020-01-01"], "2020-01-01"),
        (["create", "a", "--expires", "0s"], "a time to come"),
        (["create", "a", "--requests-per-minute", "0"], "requests_per_minute"),
        (["create", "a", "--role", "root"], "root"),
        (["rotate", "a", "--overlap", "soon"], "90d"),
    ],
)
def test_what_makes_no_sense_is_2(file: Path, arguments: list[str], says: str) -> None:
    """The message names what is wrong, and nothing is written."""
    got = _run(*arguments, "--file", file)
    assert got.exit_code == 2
    assert says in got.stderr
    assert not file.exists()


def test_a_key_of_ones_own(file: Path) -> None:
    """A long one is taken from standard input, one that can be guessed is refused."""
    secret = new_key()
    assert _run("create", "a", "--from-stdin", "--file", file, stdin=f"{secret}\n").exit_code == 0
    assert Keyring(read_keys(file)).find(secret, NOW_S) is not None
    weak = _run("create", "b", "--from-stdin", "--file", file, stdin="hunter2\n")
    assert weak.exit_code == 2
    assert "easy to guess" in weak.stderr
    assert "hunter2" not in weak.stderr


def test_no_place_for_keys_is_2(tmp_path: Path) -> None:
    """The message names the settings that make one."""
    got = _run("list")
    assert got.exit_code == 2
    assert "auth.keys_file" in got.stderr
    assert "auth.redis_keys" in got.stderr
    assert _run("list", "--in", "redis").exit_code == 2


def test_a_folder_that_cannot_be_written_is_2(tmp_path: Path) -> None:
    """A mounted secret is read-only: the error says what cannot be done."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    got = _run("create", "a", "--file", blocked / "keys.yaml")
    assert got.exit_code == 2
    assert "cannot be used" in got.stderr


@pytest.mark.redis
def test_keys_in_redis(redis_url: str) -> None:
    """The same commands, where auth.redis_keys is set."""
    env = {
        "ALPHAROUTE_REDIS__URL": redis_url,
        "ALPHAROUTE_REDIS__PREFIX": f"test-{uuid.uuid4().hex[:8]}",
        "ALPHAROUTE_AUTH__REDIS_KEYS": "true",
    }
    assert _run("create", "a", env=env).exit_code == 0
    assert _run("create", "a", env=env).exit_code == 1
    assert _run("rotate", "a", env=env).exit_code == 0
    assert [row["id"] for row in json.loads(_run("list", "--json", env=env).stdout)] == ["a"]
    assert _run("revoke", "a", env=env).exit_code == 0
    assert _run("revoke", "a", env=env).exit_code == 1
    away = _run("list", env={**env, "ALPHAROUTE_REDIS__URL": "redis://127.0.0.1:1/0"})
    assert away.exit_code == 2
    assert "Redis cannot be used" in away.stderr


def test_times_as_people_write_them() -> None:
    """From now on, or a date; without a zone it is UTC."""
    now = datetime(2027, 1, 1, tzinfo=UTC)
    assert moment("90d", now) == now + timedelta(days=90)
    assert moment("30m", now) == now + timedelta(minutes=30)
    assert moment("0s", now) == now
    assert moment("2027-01-31") == datetime(2027, 1, 31, tzinfo=UTC)
    assert moment("2027-01-31T10:00:00+02:00") == datetime(2027, 1, 31, 8, tzinfo=UTC)


async def test_acceptance_of_a_guarded_service_takes_a_key(tmp_path: Path) -> None:
    """It is taken from the environment; without it the message says which key is needed."""
    async with doorway(tmp_path) as door:

        def ask(**env: str) -> Result:
            return CliRunner().invoke(app, ["acceptance", "--url", door.url, "--json"], env=env)

        refused = await asyncio.to_thread(ask)
        assert (refused.exit_code, "ALPHAROUTE_KEY" in refused.stderr) == (2, True)
        odd = await asyncio.to_thread(ask, ALPHAROUTE_KEY=door.keys["operator"])
        assert (odd.exit_code, "another version" in odd.stderr) == (2, True)
        assert door.app.scopes[-1]["path"] == "/admin/v1/acceptance"


def test_the_commands_of_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `alpharoute keys` line of docs/security.md, one after another."""
    guide = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    lines = [shlex.split(line) for line in guide.splitlines() if line.startswith("alpharoute keys ")]
    assert {line[2] for line in lines} == {"create", "list", "rotate", "revoke"}
    monkeypatch.chdir(tmp_path)
    for line in lines:
        done = CliRunner().invoke(app, line[1:])
        assert done.exit_code == 0, (line, done.stderr)
    assert [key.id for key in read_keys(Path("keys.yaml"))] == ["team-a"]
