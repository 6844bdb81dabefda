"""The page on which a browser signs in to the console with a key."""

from html import escape

LOGIN = "/console/login"
LOGOUT = "/console/logout"

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Alpharoute: sign in</title><style>
:root {{ color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }}
main {{ max-width: 26rem; margin: 15vh auto; padding: 0 1rem }}
input, button {{ font: inherit; width: 100%; box-sizing: border-box; padding: .5rem; margin-top: .5rem }}
.wrong {{ color: #c0392b }}
</style></head><body><main><h1>Alpharoute</h1>
<form method="post" action="{login}">
<label for="key">A key with the role operator or admin</label>
<input id="key" name="key" type="password" required autofocus autocomplete="current-password" spellcheck="false">
<button>Sign in</button>{wrong}
</form></main></body></html>
"""

# The page holds a key for a moment: nothing may frame it, keep it or send what is typed elsewhere.
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


def login_page(wrong: str = "") -> bytes:
    """The page as UTF-8 HTML; `wrong` says why the last try failed."""
    said = f'<p class="wrong" role="alert">{escape(wrong)}</p>' if wrong else ""
    return _PAGE.format(login=LOGIN, wrong=said).encode()
