"""API keys: how one is made and stored, which is found, which is refused."""

from datetime import UTC, datetime, timedelta

import pytest
from doorway import key_of
from pydantic import ValidationError

from router.access.keys import Key, Keyring, WeakKey, check_strength, hash_of, new_key, rotated
from router.roles import Role, needed_role

NOW = datetime(2027, 1, 1, tzinfo=UTC)
NOW_S = NOW.timestamp()


def test_a_new_key_is_256_random_bits() -> None:
    """43 characters of base64 behind a prefix by which scanners find leaked ones; no two are alike."""
    made = {new_key() for _ in range(100)}
    assert len(made) == 100
    assert all(key.startswith("ar-") and len(key) == 46 for key in made)
    for key in made:
        check_strength(key)


def test_a_key_is_found_by_itself_only() -> None:
    """Any other character makes it another key, and its hash is no key either."""
    secret = new_key()
    ring = Keyring([key_of(secret, "a"), key_of(new_key(), "b")])
    found = ring.find(secret, NOW_S)
    assert found is not None
    assert found.id == "a"
    assert ring.find(secret[:-1] + ("x" if secret[-1] != "x" else "y"), NOW_S) is None
    assert ring.find(secret.upper(), NOW_S) is None
    assert ring.find(hash_of(secret), NOW_S) is None
    assert ring.find("", NOW_S) is None


@pytest.mark.parametrize("weak", ["hunter2", "correct horse battery staple", "a" * 64, "abcabc" * 10, "x" * 300])
def test_a_key_that_can_be_guessed_is_refused(weak: str) -> None:
    """SHA-256 is no protection for what people choose: short keys, and long ones of few characters."""
    with pytest.raises(WeakKey, match="easy to guess"):
        check_strength(weak)


def test_a_short_key_is_no_key_even_if_its_hash_is_stored() -> None:
    """Whoever puts the hash of a password into the file gets no further than that."""
    assert Keyring([key_of("hunter2", "a")]).find("hunter2", NOW_S) is None


def test_a_key_ends() -> None:
    """At its time it is no key any more."""
    secret = new_key()
    ring = Keyring([key_of(secret, "a", expires=NOW)])
    assert ring.find(secret, NOW_S - 1) is not None
    assert ring.find(secret, NOW_S) is None


def test_a_rotated_key_and_its_former_one_are_both_taken_for_a_while() -> None:
    """The former secret works until the overlap ends, the new one from the start, both as the same key."""
    old, new = new_key(), new_key()
    ring = Keyring([rotated(key_of(old, "a"), new, NOW + timedelta(hours=1))])
    assert ring.find(new, NOW_S) == ring.find(old, NOW_S) != None  # noqa: E711  # one chain says it best
    assert ring.find(old, NOW_S + 3600) is None
    assert ring.find(new, NOW_S + 3600) is not None


def test_times_need_a_zone() -> None:
    """A key whose end depends on where it is read is refused."""
    with pytest.raises(ValidationError, match="timezone"):
        Key.model_validate({"id": "a", "hash": hash_of(new_key()), "expires": "2027-01-01T00:00:00"})


@pytest.mark.parametrize(
    "fact", [{"hash": "sha256:abc"}, {"hash": "secret"}, {"id": "a|b"}, {"role": "root"}, {"x": 1}]
)
def test_what_makes_no_sense_is_refused(fact: dict[str, object]) -> None:
    """A hash that is none, an id that would be two words in Redis, a role or field that does not exist."""
    with pytest.raises(ValidationError):
        Key.model_validate({"id": "a", "hash": hash_of(new_key()), **fact})


def test_each_role_may_what_the_one_before_may() -> None:
    """client < operator < admin."""
    roles = list(Role)
    assert [[one.covers(other) for other in roles] for one in roles] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("GET", "/health", None),
        ("HEAD", "/ready", None),
        ("POST", "/health", Role.CLIENT),
        ("GET", "/v1/models", Role.CLIENT),
        ("POST", "/v1/chat/completions", Role.CLIENT),
        ("POST", "/tokenize", Role.CLIENT),
        ("GET", "/console", Role.OPERATOR),
        ("GET", "/admin/v1/acceptance", Role.OPERATOR),
        ("POST", "/admin/v1/policies", Role.OPERATOR),
        ("GET", "/admin/v1/keys", Role.ADMIN),
        ("DELETE", "/admin/v1/Keys/x", Role.ADMIN),
        ("GET", "/admin/v1/settings", Role.ADMIN),
        ("GET", "/ADMIN/v1/acceptance", Role.OPERATOR),
        ("GET", "/admin", Role.OPERATOR),
        ("GET", "/consolex", Role.OPERATOR),
        ("GET", "/", Role.CLIENT),
        ("GET", "/whatever/comes/later", Role.CLIENT),
        ("GET", "/healthz", Role.CLIENT),
        ("GET", "/metrics", None),
    ],
)
def test_the_role_a_route_needs(method: str, path: str, needed: Role | None) -> None:
    """Only probes are open; a route that nobody thought of needs a client's key at least."""
    assert needed_role(method, path) is needed


def test_metrics_may_be_closed() -> None:
    """A setting says who may scrape."""
    assert needed_role("GET", "/metrics", Role.OPERATOR) is Role.OPERATOR
