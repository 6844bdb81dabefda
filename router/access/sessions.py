"""Console sessions: a cookie that stands for a key, since a browser sends no bearer header by itself.

The cookie holds the key's id and an end, signed with a secret that the routers share and with the key's stored
hash, so that any router can check it, and rotating or revoking the key ends it. It opens reading only.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

from router.access.keys import Key, Keyring

COOKIE = "alpharoute_session"


@dataclass(frozen=True, slots=True)
class Sessions:
    """Makes and checks cookies; `lasting_s` is how long one is good for."""

    secret: bytes
    lasting_s: float

    def cookie(self, key: Key, now_s: float, *, secure: bool) -> str:
        """The Set-Cookie header of a key that signed in."""
        ends_s = int(now_s + self.lasting_s)
        value = f"{key.id}.{ends_s}.{self._signature(key, ends_s)}"
        return f"{COOKIE}={value}; Max-Age={int(self.lasting_s)}; {_attributes(secure)}"

    def key_of(self, header: str, keyring: Keyring, now_s: float) -> Key | None:
        """The key that a Cookie header stands for, None where it stands for none any more."""
        name, ends_s, signature = _parts(header)
        key = keyring.named(name)
        if key is None or key.expired(now_s) or now_s >= ends_s:
            return None
        return key if hmac.compare_digest(signature, self._signature(key, ends_s)) else None

    def _signature(self, key: Key, ends_s: int) -> str:
        message = f"{key.id}\n{key.hash}\n{ends_s}".encode()
        signature = hmac.new(self.secret, message, hashlib.sha256).digest()
        return base64.urlsafe_b64encode(signature).rstrip(b"=").decode()


def ended_cookie(*, secure: bool) -> str:
    """The Set-Cookie header that signs out."""
    return f"{COOKIE}=; Max-Age=0; {_attributes(secure)}"


def _attributes(secure: bool) -> str:
    return "Path=/; HttpOnly; SameSite=Strict" + ("; Secure" if secure else "")


def _parts(header: str) -> tuple[str, int, str]:
    """Id, end and signature; empty and 0 where the header has no such cookie."""
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        morsel = None
    # From the right: an id may hold dots.
    name, _, rest = (morsel.value if morsel else "").rpartition(".")
    name, _, ends = name.rpartition(".")
    return (name, int(ends), rest) if ends.isascii() and ends.isdecimal() and len(ends) < 16 else ("", 0, "")
