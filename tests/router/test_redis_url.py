"""Redis URLs: every form, and what is said of others."""

import pytest
from pydantic import ValidationError

from router.config.redis_url import Address, parse_address
from router.config.settings import RedisSettings


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://h", Address("server", (("h", 6379),))),
        ("redis://10.0.0.5:6380/2", Address("server", (("10.0.0.5", 6380),), database=2)),
        ("redis://[::1]:7000/0", Address("server", (("::1", 7000),))),
        ("rediss://me:p%40ss@h/0", Address("server", (("h", 6379),), tls=True, username="me", password="p@ss")),
        ("redis://:a/b#c?d@e@h/0", Address("server", (("h", 6379),), password="a/b#c?d@e")),
        ("unix:///run/redis.sock?db=3", Address("socket", path="/run/redis.sock", database=3)),
        (
            "redis+sentinel://me:x@a,b:1/main/4",
            Address("sentinel", (("a", 26379), ("b", 1)), name="main", database=4, username="me", password="x"),
        ),
        ("rediss+sentinel://a/main", Address("sentinel", (("a", 26379),), name="main", tls=True)),
        ("redis+cluster://a:7000,b:7001", Address("cluster", (("a", 7000), ("b", 7001)))),
    ],
)
def test_every_form_is_read(url: str, address: Address) -> None:
    """Hosts, ports, database, name, user and password, also one that is not percent-encoded."""
    assert parse_address(url) == address


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis", "'embedded' or a URL"),
        ("http://h", "redis+sentinel://"),
        ("redis://", "redis://[user:password@]host"),
        ("redis://a,b", "redis://[user:password@]host"),
        ("redis://h:99999", "host[:port]"),
        ("redis://h/x", "[/db]"),
        ("redis://h?password=hunter2", "host[:port][/db]"),
        ("redis+sentinel://a,b", "/name"),
        ("rediss+cluster://a/1", "only 0"),
        ("rediss+cluster:///", "rediss+cluster://"),
        ("unix://", "/path"),
    ],
)
def test_another_form_is_refused(url: str, said: str) -> None:
    """The message says what is expected, and repeats nothing of the URL."""
    with pytest.raises(ValueError, match=r"must|only") as error:
        parse_address(url)
    assert said in str(error.value)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"url": "redis://h", "ca_file": "/ca.pem"}, "ca_file is for encrypted"),
        ({"url": "rediss://h", "cert_file": "/c.pem"}, "go together"),
        ({"url": "redis+sentinel://h"}, "url must look like redis+sentinel"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, str], said: str) -> None:
    """At start, by name."""
    with pytest.raises(ValidationError) as error:
        RedisSettings.model_validate(settings)
    assert said in str(error.value)
