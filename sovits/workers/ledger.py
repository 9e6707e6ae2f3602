"""Which file was made of which, so that what is done is not done again."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import IO

from sovits.partial import partial


class Ledger:
    """A list in a folder of the files that were made there, of what, and with which settings.

    A file that has changed since, or whose source has, counts as not made.

    Args:
        path: Where it is kept; one line of JSON for each file.
        settings: All else that the files depend on, as something whose `repr` says it.
    """

    def __init__(self, path: Path, settings: object) -> None:
        self.path = path
        self._settings = hashlib.sha256(repr(settings).encode("utf-8", "replace")).hexdigest()[:16]
        self._made = self._read()
        self._file: IO[str] | None = None

    def _read(self) -> dict[str, str]:
        """Return when what was made, by its path from the ledger's folder on."""
        made = {}
        with suppress(OSError):
            for line in self.path.read_text("utf-8", "replace").splitlines():
                with suppress(ValueError, TypeError, KeyError):
                    entry = json.loads(line)
                    if entry["settings"] == self._settings:
                        made[str(entry["file"])] = str(entry["stamps"])
        return made

    def has(self, source: Path, out: Path) -> bool:
        """Return whether `out` was made of `source`, and both are as they were then."""
        found = self._made.get(self._name(out))
        return found is not None and found == _stamps(source, out)

    def add(self, source: Path, out: Path) -> None:
        """Take note that `out` was made of `source`."""
        if (stamps := _stamps(source, out)) is None:
            return
        name = self._name(out)
        self._made[name] = stamps
        with suppress(OSError):  # without a note it is made again, which does no harm
            if self._file is None:
                self._file = self._begin()
            self._file.write(self._line(name))
            self._file.flush()

    def _begin(self) -> IO[str]:
        """Write what is known to a new file, without what is of other settings."""
        part = partial(self.path)
        try:
            part.write_text("".join(map(self._line, self._made)), "utf-8")
            part.replace(self.path)
        finally:
            part.unlink(missing_ok=True)
        return self.path.open("a", encoding="utf-8")

    def close(self, *, forget: bool = False) -> None:
        """Close the file, and remove it if nobody is to go on from it."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if forget:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)

    def _line(self, name: str) -> str:
        entry = {"file": name, "settings": self._settings, "stamps": self._made[name]}
        return json.dumps(entry) + "\n"

    def _name(self, out: Path) -> str:
        return out.relative_to(self.path.parent).as_posix()


def _stamps(source: Path, out: Path) -> str | None:
    """Return sizes and times of two files, and the path of the first; None if one is not there."""
    try:
        found = [path.stat() for path in (source, out)]
    except OSError:
        return None
    stamps = " ".join(f"{status.st_size} {status.st_mtime_ns}" for status in found)
    return f"{stamps} {source.absolute()}"
