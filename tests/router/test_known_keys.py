"""Keys change while routers run: in a file, as Kubernetes mounts it, and in Redis; what goes wrong locks nobody out."""

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from doorway import doorway, key_of, written

from router.access.key_file import changing, read_keys
from router.access.key_places import InFile, NoSuchKey
from router.access.keys import Key, new_key
from router.access.known_keys import KnownKeys
from router.access.redis_door import RedisKeyStore
from router.access.shared_keys import KeyStore, MemoryKeyStore, SharedKeys
from router.config.auth import AuthSettings
from router.errors import SetupError
from router.state.redis_store import Keys, connect
from router.state.store import StoreError

NOW_S = 1_900_000_000.0


def _known(store: KeyStore, file: Path | None = None, *, redis_keys: bool = True) -> KnownKeys:
    return KnownKeys(AuthSettings(keys_file=file, redis_keys=redis_keys), store, lambda: NOW_S)


async def _until(good: Callable[[], Awaitable[bool]], limit_s: float = 10) -> None:
    deadline = time.monotonic() + limit_s
    while not await good():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.005)


async def test_a_changed_file_counts_without_a_restart(tmp_path: Path) -> None:
    """A new key comes in, a removed one is refused, on a running server."""
    fresh = new_key()
    async with doorway(tmp_path) as door:

        async def status(headers: dict[str, str]) -> int:
            async with door.session.get("/v1/models", headers=headers) as answer:
                return answer.status

        assert await status(door.bearer("client")) == 200
        written(tmp_path / "keys.json", [key_of(fresh, "fresh")])

        async def renewed() -> bool:
            return await status({"x-api-key": fresh}) == 200

        await _until(renewed)
        assert await status(door.bearer("client")) == 401


async def test_a_mounted_secret_that_is_replaced_by_a_link(tmp_path: Path) -> None:
    """The kubelet swaps a link to a folder: the path stays, what is behind it is another file of the same size."""
    secrets = [new_key(), new_key()]
    for number, secret in enumerate(secrets):
        (tmp_path / f"v{number}").mkdir()
        written(tmp_path / f"v{number}" / "keys.yaml", [key_of(secret, "a")])
    (tmp_path / "..data").symlink_to("v0")
    (tmp_path / "keys.yaml").symlink_to("..data/keys.yaml")
    known = _known(MemoryKeyStore(), tmp_path / "keys.yaml", redis_keys=False)
    assert known.ring.find(secrets[0], NOW_S) is not None
    (tmp_path / "..tmp").symlink_to("v1")
    (tmp_path / "..tmp").replace(tmp_path / "..data")
    await known.refresh()
    assert known.ring.find(secrets[0], NOW_S) is None
    assert known.ring.find(secrets[1], NOW_S) is not None


@pytest.mark.parametrize("broken", ["keys: [", "keys: 7", "keys: [{id: a}]", None])
async def test_a_broken_file_locks_nobody_out(
    tmp_path: Path, broken: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """The keys known before stay, the log names the file, and a file put right is taken."""
    secret = new_key()
    file = written(tmp_path / "keys.yaml", [key_of(secret, "a")])
    known = _known(MemoryKeyStore(), file, redis_keys=False)
    if broken is None:
        file.unlink()
    else:
        file.write_text(broken)
    await known.refresh()
    assert known.ring.find(secret, NOW_S) is not None
    assert "keys.yaml" in caplog.text
    written(file, [])
    await known.refresh()
    assert known.ring.find(secret, NOW_S) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("keys: [{id: a, hash: hunter2hunter2}]", "keys.0.hash"),
        (f"keys: [{{id: a, hash: 'sha256:{'0' * 64}', rights: all}}]", "keys.0.rights"),
        (f"keys: [{{id: a, hash: 'sha256:{'0' * 64}'}}, {{id: a, hash: 'sha256:{'1' * 64}'}}]", "given twice"),
        ("- hunter2hunter2: [", "neither YAML nor JSON"),
    ],
)
def test_a_wrong_file_is_said_without_its_content(tmp_path: Path, text: str, says: str) -> None:
    """At the start it is an error that names the field, and never repeats what may be a secret."""
    file = tmp_path / "keys.yaml"
    file.write_text(text)
    with pytest.raises(SetupError, match=says) as said:
        _known(MemoryKeyStore(), file)
    assert "hunter2" not in str(said.value)


def test_a_missing_file_is_said_at_the_start(tmp_path: Path) -> None:
    """Nobody could come in: the router does not start so."""
    with pytest.raises(SetupError, match="nowhere"):
        _known(MemoryKeyStore(), tmp_path / "nowhere.yaml")


def test_a_file_is_written_whole_and_for_its_owner_only(tmp_path: Path) -> None:
    """What fails half way changes nothing; what is written others may not read."""
    file = tmp_path / "keys.yaml"
    with changing(file) as keys:
        keys["a"] = key_of(new_key(), "a")
    before = file.read_bytes()
    assert file.stat().st_mode & 0o077 == 0
    with pytest.raises(ZeroDivisionError), changing(file) as keys:
        keys["b"] = key_of("b" * (1 // 0), "b")
    assert file.read_bytes() == before
    assert [key.id for key in read_keys(file)] == ["a"]
    assert [path.name for path in tmp_path.iterdir()] == ["keys.yaml"]


async def test_another_writer_holds_up_nobody_else(tmp_path: Path) -> None:
    """Whoever changes a file waits in a thread: requests go on meanwhile, and so does what the writer waits for."""
    place = InFile(tmp_path / "keys.yaml")
    with changing(place.file) as keys:
        keys["a"] = key_of(new_key(), "a")
        waiting = [asyncio.create_task(place.add(key_of(new_key(), name))) for name in ("b", "c")]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert {key.id for key in await place.all()} == {"a", "b", "c"}
    assert (await place.change("b", lambda key: key.model_copy(update={"segments": ("gold",)}))).segments == ("gold",)
    await place.remove("c")
    assert {key.id: key.segments for key in await place.all()} == {"a": (), "b": ("gold",)}
    for refused in (place.add(key_of(new_key(), "a")), place.change("c", lambda key: key), place.remove("c")):
        with pytest.raises(NoSuchKey):
            await refused


async def test_a_writer_that_never_ends_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that waits for ever would be one fewer for everybody."""
    monkeypatch.setattr("router.access.key_file.LOCK_S", 0.05)
    place = InFile(tmp_path / "keys.yaml")
    with changing(place.file), pytest.raises(SetupError, match="another writer"):
        await place.add(key_of(new_key(), "a"))


async def test_a_file_is_not_read_on_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of keys take a tenth of a second, in which every stream of the router would stand still."""
    threads: list[int] = []

    def read(file: Path) -> tuple[Key, ...]:
        threads.append(threading.get_ident())
        return ()

    monkeypatch.setattr("router.access.key_places.read_keys", read)
    assert await InFile(tmp_path / "keys.yaml").all() == ()
    assert threads != [threading.get_ident()]


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def store(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[KeyStore]:
    """Both implementations of the seam."""
    if request.param == "memory":
        yield MemoryKeyStore()
    else:
        redis = connect(redis_url, timeout_s=5)
        yield RedisKeyStore(redis, Keys(f"test-{uuid.uuid4().hex[:8]}"))
        await redis.aclose()


async def test_the_contract_of_a_key_store(store: KeyStore) -> None:
    """New ids are new, others are not, a version that is known is not sent again, and the store stays the same."""
    first = await store.read("")
    assert first is not None
    assert first.keys == ()
    assert await store.read(first.version) is None
    key = key_of(new_key(), "a")
    assert not await store.put(key, new=False)
    assert await store.put(key, new=True)
    assert not await store.put(key, new=True)
    second = await store.read(first.version)
    assert second is not None
    assert second.keys == (key,)
    assert second.follows(first.version)
    await store.restore([key_of(new_key(), "a"), other := key_of(new_key(), "b")])
    third = await store.read(second.version)
    assert third is not None
    assert sorted(third.keys, key=lambda key: key.id) == [key, other]
    assert await store.remove("a")
    assert not await store.remove("a")


async def test_keys_in_redis_come_and_go(store: KeyStore) -> None:
    """A key made or revoked by one process counts at a router with its next look."""
    known, secret = _known(store), new_key()
    await known.refresh()
    assert known.complete
    await store.put(key_of(secret, "a"), new=True)
    assert known.ring.find(secret, NOW_S) is None
    await known.refresh()
    assert known.ring.find(secret, NOW_S) is not None
    await store.remove("a")
    await known.refresh()
    assert known.ring.find(secret, NOW_S) is None


@pytest.mark.redis
async def test_keys_that_redis_lost_are_given_back(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Everything of ours is deleted there, and another key made since: the routers' keys are there again beside it."""
    redis, keys = connect(redis_url, timeout_s=5), Keys(f"test-{uuid.uuid4().hex[:8]}")
    store = RedisKeyStore(redis, keys)
    first, second = new_key(), new_key()
    await store.put(key_of(first, "first"), new=True)
    known = _known(store)
    await known.refresh()
    await redis.delete(keys.keys, keys.key_state)
    await store.put(key_of(second, "second"), new=True)
    await known.refresh()
    assert known.ring.find(first, NOW_S) is not None
    assert known.ring.find(second, NOW_S) is not None
    shared = await store.read("")
    assert shared is not None
    assert {key.id for key in shared.keys} == {"first", "second"}
    assert "written back" in caplog.text
    await redis.aclose()


class Away(MemoryKeyStore):
    """A store that can be away."""

    away = False

    async def read(self, version: str) -> SharedKeys | None:
        """Fails while away."""
        if self.away:
            raise StoreError("away")
        return await super().read(version)


async def test_redis_away_locks_nobody_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Keys that are known stay so, and one log line says it however often it fails."""
    store, secret = Away(), new_key()
    await store.put(key_of(secret, "a"), new=True)
    known = _known(store)
    await known.refresh()
    store.away = True
    for _ in range(5):
        await known.refresh()
    assert known.ring.find(secret, NOW_S) is not None
    assert caplog.text.count("Redis is away") == 1


async def test_before_redis_was_read_an_unknown_key_is_asked_to_come_again(tmp_path: Path) -> None:
    """A router that starts while Redis is away does not call a good key wrong; keys of the file work."""
    store = Away()
    store.away = True
    async with doorway(tmp_path, store=store, auth={"redis_keys": True}) as door:
        async with door.session.get("/v1/models", headers={"x-api-key": new_key()}) as answer:
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        async with door.session.get("/v1/models", headers=door.bearer("client")) as answer:
            assert answer.status == 200
        async with door.session.get("/v1/models") as answer:
            assert answer.status == 401


async def test_a_key_in_both_places_is_the_file_s(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever may write Redis cannot take over an id of the file."""
    store, in_file, in_redis = MemoryKeyStore(), new_key(), new_key()
    await store.put(key_of(in_redis, "a"), new=True)
    known = _known(store, written(tmp_path / "keys.yaml", [key_of(in_file, "a")]))
    await known.refresh()
    assert known.ring.find(in_file, NOW_S) is not None
    assert known.ring.find(in_redis, NOW_S) is None
    assert "'a'" in caplog.text


@pytest.mark.redis
async def test_redis_holds_no_key(redis_url: str) -> None:
    """What is written there is the hash."""
    redis, keys, secret = connect(redis_url, timeout_s=5), Keys(f"test-{uuid.uuid4().hex[:8]}"), new_key()
    await RedisKeyStore(redis, keys).put(key_of(secret, "a"), new=True)
    rows = await redis.hgetall(keys.keys)
    assert secret not in repr(rows)
    assert "sha256:" in rows["a"]
    await redis.hset(keys.keys, "b", '{"id": "b", "from": "a later version"}')
    shared = await RedisKeyStore(redis, keys).read("")
    assert shared is not None
    assert [key.id for key in shared.keys] == ["a"]
    await redis.aclose()


def test_logs_hold_no_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At debug level neither a key nor its hash is written."""
    caplog.set_level(logging.DEBUG)
    secret = new_key()
    file = written(tmp_path / "keys.yaml", [key := key_of(secret, "a")])
    known = _known(MemoryKeyStore(), file)
    written(file, [key, key_of(new_key(), "b")])
    asyncio.run(known.refresh())
    assert "keys file changed" in caplog.text
    assert secret not in caplog.text
    assert key.hash not in caplog.text
