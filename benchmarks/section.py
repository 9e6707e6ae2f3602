"""A benchmark's own part of docs/benchmarks.md, between marks with its name."""

from __future__ import annotations

from collections.abc import Sequence


def put(page: str, name: str, lines: Sequence[str]) -> str:
    """Return the page with the part of a benchmark in place of its older one, or at the end."""
    begin, end = f"<!-- {name} writes from here -->", f"<!-- {name} up to here -->"
    block = "\n".join([begin, "", *lines, "", end])
    before, found, rest = page.partition(begin)
    if not found:
        return f"{page.rstrip()}\n\n{block}\n"
    return before + block + rest.partition(end)[2]
