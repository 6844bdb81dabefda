"""The admin API and the console on a port of their own, and the refusal to serve strangers by accident."""

from pathlib import Path

import aiohttp
import pytest
from doorway import doorway

from engines.ports import free_port
from router.access.exposure import check_cluster, check_local, is_loopback
from router.access.listener import listening
from router.api.http import Receive, Scope, Send
from router.cli import greeting
from router.config.auth import AdminSettings
from router.config.settings import Settings
from router.errors import SetupError

SERVER = {"url": "redis://127.0.0.1:1/0"}


async def _status(url: str, path: str, headers: dict[str, str]) -> int:
    async with aiohttp.ClientSession(url) as session, session.get(path, headers=headers) as answer:
        return answer.status


async def test_each_port_has_its_own(tmp_path: Path) -> None:
    """The API's port has neither console nor admin API then, not even for an admin, and the other no models."""
    async with doorway(tmp_path, admin=AdminSettings(port=free_port())) as door:
        admin = door.bearer("admin")
        for path in ("/console", "/admin/v1/decisions", "/ADMIN/v1/decisions"):
            assert await _status(door.url, path, admin) == 404
        assert await _status(door.url, "/v1/models", admin) == 200
        assert await _status(door.admin_url, "/v1/models", admin) == 404
        assert await _status(door.admin_url, "/", admin) == 404
        for path in ("/admin/v1/decisions", "/health", "/ready", "/metrics"):
            assert await _status(door.admin_url, path, admin) == 200
        assert await _status(door.admin_url, "/admin/v1/decisions", {}) == 401
        assert await _status(door.url, "/health", {}) == 200
        assert await _status(door.url, "/metrics", {}) == 200


async def test_replicas_of_one_node_share_the_port(tmp_path: Path) -> None:
    """Two routers listen on it at once; when one ends the other answers."""
    admin = AdminSettings(port=free_port())
    (tmp_path / "2").mkdir()
    async with doorway(tmp_path, admin=admin) as one:
        async with doorway(tmp_path / "2", admin=admin):
            assert await _status(one.admin_url, "/health", {}) == 200
        for _ in range(5):
            assert await _status(one.admin_url, "/health", {}) == 200


async def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    """The message names the setting."""

    async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
        """An application that is never asked."""

    with pytest.raises(SetupError, match=r"admin\.port"):
        async with listening(nothing, "203.0.113.7", 9):  # an address that no machine has
            pass


def _settings(**parts: object) -> Settings:
    return Settings.model_validate(parts)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "api.example"])
def test_others_are_not_let_in_by_accident(host: str) -> None:
    """Beyond loopback there must be keys, or a word that there are none; the error names both ways out."""
    with pytest.raises(SetupError, match=r"listen\.host") as refused:
        check_local(_settings(listen={"host": host}))
    assert "auth.keys_file" in str(refused.value)
    assert "auth.allow_anonymous: true" in str(refused.value)
    check_local(_settings(listen={"host": host}, auth={"redis_keys": True}, redis=SERVER))
    check_local(_settings(listen={"host": host}, auth={"keys_file": "keys.yaml"}))
    check_local(_settings(listen={"host": host}, auth={"allow_anonymous": True}))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.3.2.1"])
def test_loopback_needs_no_keys(host: str) -> None:
    """What only this machine reaches is served as it is."""
    assert is_loopback(host)
    check_local(_settings(listen={"host": host}))


def test_the_admin_port_is_looked_at_too() -> None:
    """An open API on loopback with an admin port for everybody is refused; without that port its host is no matter."""
    with pytest.raises(SetupError, match=r"admin\.host"):
        check_local(_settings(admin={"host": "0.0.0.0", "port": 9000}))
    check_local(_settings(admin={"host": "0.0.0.0"}))


@pytest.mark.filterwarnings("ignore")  # of Ray's own import
def test_a_cluster_is_not_served_without_a_word() -> None:
    """On a cluster the API always listens beyond loopback: without keys it is not even built."""
    from router.app import build_app

    with pytest.raises(SetupError, match="cluster") as refused:
        build_app(_settings(redis=SERVER))
    assert "auth.allow_anonymous: true" in str(refused.value)
    check_cluster(_settings(auth={"allow_anonymous": True}))
    check_cluster(_settings(auth={"redis_keys": True}))


def test_both_ways_at_once_are_refused() -> None:
    """Keys that nobody needs would be taken for protection."""
    with pytest.raises(ValueError, match="allow_anonymous"):
        _settings(auth={"allow_anonymous": True, "redis_keys": True})


def test_keys_that_nobody_can_make_are_refused() -> None:
    """The embedded Redis is out of the command's reach: a service that takes keys from there alone is locked."""
    with pytest.raises(SetupError, match=r"auth\.redis_keys"):
        check_local(_settings(auth={"redis_keys": True}))
    check_local(_settings(auth={"redis_keys": True, "keys_file": "keys.yaml"}))


def test_the_greeting_shows_how_to_ask_with_a_key() -> None:
    """The line to try carries a key where one is needed, and the console is where it is."""
    plain = greeting("http://127.0.0.1:8000", _settings())
    assert "authorization" not in plain
    assert "console: http://127.0.0.1:8000/console" in plain
    guarded = greeting("http://127.0.0.1:8000", _settings(auth={"keys_file": "k.yaml"}, admin={"port": 9000}))
    assert "Bearer $ALPHAROUTE_KEY" in guarded
    assert "console: http://127.0.0.1:9001/console" in guarded
    moved = greeting("http://127.0.0.1:8000", _settings(console={"port": 7000}))
    assert "console: http://127.0.0.1:7000/console" in moved
    assert "/console" not in greeting("http://127.0.0.1:8000", _settings(console={"enabled": False}))
