"""The simulator's tokenizer: four UTF-8 bytes a token, reversible, with no vocabulary to load."""

TOKEN_BYTES = 4
"""The usual rule of thumb for English text; every word of the generated text is exactly this long."""

MARK = 1
"""Leading byte inside a token id, so that ids of short and zero-led pieces stay apart."""

MAX_ID = (MARK << (8 * TOKEN_BYTES)) + (1 << (8 * TOKEN_BYTES)) - 1


def count_tokens(text: str) -> int:
    """Number of tokens of `text`."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", errors="surrogatepass"))
    return -(-size // TOKEN_BYTES)


def encode(text: str) -> list[int]:
    """Token ids of `text`."""
    data = text.encode("utf-8", errors="surrogatepass")
    pieces = (data[i : i + TOKEN_BYTES] for i in range(0, len(data), TOKEN_BYTES))
    return [int.from_bytes(bytes((MARK, *piece)), "big") for piece in pieces]


def decode(tokens: list[int]) -> str:
    """The text of `tokens`; ids this tokenizer never made become the replacement character."""
    return b"".join(_piece(token) for token in tokens).decode("utf-8", errors="replace")


def _piece(token: int) -> bytes:
    if not 0 <= token <= MAX_ID:
        return "�".encode()
    data = token.to_bytes(TOKEN_BYTES + 1, "big").lstrip(b"\0")
    return data[1:] if data[:1] == bytes((MARK,)) else "�".encode()
