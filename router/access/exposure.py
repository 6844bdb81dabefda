"""Whether a service may listen where it is told to: beyond this machine only with keys, or told to do without."""

import ipaddress

from router.config.settings import EMBEDDED, Settings
from router.errors import SetupError

_WAYS_OUT = (
    "Either make keys (`alpharoute keys create me --role admin --file keys.yaml`, then auth.keys_file: keys.yaml, or "
    "ALPHAROUTE_AUTH__KEYS_FILE), or say that everybody may use it (auth.allow_anonymous: true, or "
    "ALPHAROUTE_AUTH__ALLOW_ANONYMOUS=true)."
)


def check_local(settings: Settings) -> None:
    """Raise SetupError where `alpharoute serve` would let other machines in without a key, or nobody at all."""
    embedded = settings.redis.url.get_secret_value() == EMBEDDED
    if settings.auth.redis_keys and settings.auth.keys_file is None and embedded:
        raise SetupError(
            "auth.redis_keys is set, but nobody can make keys in the embedded Redis: set redis.url to a server of "
            "your own, or keep the keys in a file (auth.keys_file)."
        )
    for setting, host in (("listen.host", settings.listen.host), ("admin.host", settings.admin.host)):
        used = setting == "listen.host" or settings.admin.port is not None
        if used and not is_loopback(host) and _is_open(settings):
            raise SetupError(f"{setting} is {host!r}: other machines could use it without a key. {_WAYS_OUT}")


def check_cluster(settings: Settings) -> None:
    """Raise SetupError where a cluster would serve without keys: there the API always listens beyond loopback."""
    if _is_open(settings):
        raise SetupError(f"On a cluster everybody who reaches a node could use the API without a key. {_WAYS_OUT}")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address; a name other than localhost may be anything."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _is_open(settings: Settings) -> bool:
    return not settings.auth.needs_keys and not settings.auth.allow_anonymous
