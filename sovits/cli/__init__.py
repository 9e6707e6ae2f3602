"""The commands svc and svcg."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from sovits.errors import SovitsError, UsageError

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 1 if whoever typed it has something to put right."""
    try:
        from sovits.cli.parse import parse

        command = parse(sys.argv[1:] if argv is None else argv)
        status = 0 if command is None else command.run()
        sys.stdout.flush()
    except SovitsError as error:
        return _say(str(error))
    except KeyboardInterrupt:
        _say("Interrupted. Nothing is left half-written; run the same command again to go on.")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone; Python would complain about it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        return _say(f"{name}{error.strerror or error}. Check the path, its permissions and disk.")
    except MemoryError:
        return _say("Out of memory. Close other programs, or lower --max-piece-seconds.")
    return status


def entry() -> None:
    """Run `svc`."""
    # A polite kill cleans up like Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())


def entry_gui() -> None:
    """Run `svcg`."""
    sys.exit(_say(str(UsageError.no_page())))


def _say(message: str) -> int:
    """Print one line where errors go."""
    print(f"svc: {' '.join(message.split())}", file=sys.stderr)
    return 1
