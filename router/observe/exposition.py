"""The metrics pages of several routers as one page, each series with the label `router`."""

from collections.abc import Mapping


def one_page(pages: Mapping[str, str]) -> bytes:
    """Pages in Prometheus' text format by router, as one: each family once, with the series of all of them."""
    heads: dict[str, list[str]] = {}
    series: dict[str, list[str]] = {}
    for router, page in pages.items():
        family = ""
        for line in page.splitlines():
            if line.startswith("# "):
                family = line.split(" ", 3)[2]
                known = heads.setdefault(family, [])
                if len(known) < 2:
                    known.append(line)
            elif line:
                series.setdefault(family, []).append(_labelled(line, router))
    lines = [line for family in heads for line in (*heads[family], *series.get(family, ()))]
    return "\n".join([*lines, ""]).encode()


def _labelled(line: str, router: str) -> str:
    """The sample with the label; a name holds neither a brace nor a space, so the first of them ends it."""
    name, brace, rest = line.partition("{")
    if brace and " " not in name:
        return f'{name}{{router="{router}",{rest}'
    name, _, value = line.partition(" ")
    return f'{name}{{router="{router}"}} {value}'
