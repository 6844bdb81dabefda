"""The page on which a browser signs in to the console with a key; no script, nothing from elsewhere."""

from html import escape

from router.console.style import ICON
from router.roles import CONSOLE

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Sign in · Alpharoute</title><link rel="icon" href="{icon}"><style>
:root {{ color-scheme: light dark; --page:#f5f6f8; --card:#fff; --line:#d5dae2; --text:#1b2330; --quiet:#5b6675;
  --accent:#2563eb; --bad:#c0272d }}
@media (prefers-color-scheme: dark) {{ :root {{ --page:#0d1117; --card:#151b23; --line:#2f3844; --text:#e4e9f0;
  --quiet:#98a3b3; --accent:#2f6df0; --bad:#ff7b72 }} }}
body {{ margin:0; background:var(--page); color:var(--text); font:15px/1.5 system-ui,sans-serif }}
main {{ max-width:22rem; margin:16vh auto 0; padding:0 16px }}
form {{ background:var(--card); border:1px solid var(--line); border-radius:12px; padding:24px }}
h1 {{ font-size:1.25rem; margin:0 0 16px; display:flex; gap:10px; align-items:center }}
label {{ color:var(--quiet); font-size:.9rem }}
input, button {{ font:inherit; width:100%; box-sizing:border-box; padding:9px 12px; margin-top:8px; border-radius:8px }}
input {{ background:transparent; color:inherit; border:1px solid var(--line) }}
button {{ background:var(--accent); color:#fff; border:0; font-weight:550; cursor:pointer; margin-top:12px }}
input:focus-visible, button:focus-visible {{ outline:2px solid var(--accent); outline-offset:2px }}
.wrong {{ color:var(--bad); margin:12px 0 0 }}
</style></head><body><main><form method="post" action="{login}">
<h1><img src="{icon}" width="26" height="26" alt="">Alpharoute</h1>
<label for="key">A key with the role operator or admin</label>
<input id="key" name="key" type="password" required autofocus autocomplete="current-password" spellcheck="false">
<button>Sign in</button>{wrong}
</form></main></body></html>
"""

# The page holds a key for a moment: nothing may frame it, keep it or send what is typed elsewhere.
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


def login_page(wrong: str = "") -> bytes:
    """The page as UTF-8 HTML; `wrong` says why the last try failed."""
    said = f'<p class="wrong" role="alert">{escape(wrong)}</p>' if wrong else ""
    return _PAGE.format(login=f"{CONSOLE}/login", icon=ICON, wrong=said).encode()
