"""Who is signed in to the console: keys stay in this process's memory, a cookie only names one of them."""

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field

from router.roles import Role
from router.state.store import Clock

COOKIE = "alpharoute_console"
MOST_SESSIONS = 1000


@dataclass(slots=True)
class SignedIn:
    """One browser's session; `unsaved` has policy texts that were typed and not saved, by version."""

    key: str
    role: Role
    ends_s: float
    unsaved: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Sessions:
    """All of them, by the hash of their token: what leaks of this table opens nothing."""

    clock_s: Clock
    lasting_s: float
    _by_hash: OrderedDict[str, SignedIn] = field(default_factory=OrderedDict)

    def begin(self, key: str, role: Role) -> str:
        """Sign a key in; returns the token for its cookie. The oldest session makes room where there are too many."""
        token = secrets.token_urlsafe(32)
        self._by_hash[_hash(token)] = SignedIn(key, role, self.clock_s() + self.lasting_s)
        while len(self._by_hash) > MOST_SESSIONS:
            self._by_hash.popitem(last=False)
        return token

    def find(self, cookies: str) -> SignedIn | None:
        """The session that a Cookie header names, None where it names none that still lasts."""
        token = _token(cookies)
        session = self._by_hash.get(_hash(token)) if token else None
        if session is not None and self.clock_s() >= session.ends_s:
            self.end(cookies)
            return None
        return session

    def lasts(self, session: SignedIn) -> bool:
        """Whether a page that was opened with this session may go on asking."""
        return self.clock_s() < session.ends_s

    def end(self, cookies: str) -> None:
        """Sign out, in every tab; safe to repeat."""
        session = self._by_hash.pop(_hash(_token(cookies)), None)
        if session is not None:
            session.ends_s = 0.0


def set_cookie(token: str, lasting_s: float, *, secure: bool) -> str:
    """The Set-Cookie header of a session; an empty token signs out."""
    age = int(lasting_s) if token else 0
    return f"{COOKIE}={token}; Max-Age={age}; Path=/console; HttpOnly; SameSite=Strict" + ("; Secure" if secure else "")


def _token(cookies: str) -> str:
    # The library's reader takes none where one of them, of any application on this host, is not as it wants it.
    pairs = (one.strip().partition("=") for one in cookies.split(";"))
    return next((value for name, _, value in pairs if name == COOKIE), "")


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
