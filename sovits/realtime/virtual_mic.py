"""A microphone that other programs can choose, on PulseAudio and PipeWire."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from sovits.errors import LiveError

SINK, SOURCE = "sovits", "sovits_mic"
"""What the server calls the sink that is played to, and the microphone that hears it."""
ROUTE = "PULSE_SINK"
"""Variable that tells sound libraries which sink to play to."""


@contextmanager
def virtual_microphone() -> Iterator[str]:
    """Make a microphone that hears what is played, for as long as this runs; yield its name.

    Raises:
        LiveError: There is no pactl, or no server that it reaches.
    """
    before, modules = os.environ.get(ROUTE), list[str]()
    try:
        modules.append(
            _pactl("load-module", "module-null-sink", f"sink_name={SINK}", _named("sovits"))
        )
        modules.append(
            _pactl(
                "load-module",
                "module-remap-source",
                f"master={SINK}.monitor",
                f"source_name={SOURCE}",
                "source_properties=device.description=sovits-microphone",
            )
        )
        os.environ[ROUTE] = SINK
        yield SOURCE
    finally:
        for module in reversed(modules):
            _pactl("unload-module", module)
        if before is None:
            os.environ.pop(ROUTE, None)
        else:
            os.environ[ROUTE] = before


def _named(name: str) -> str:
    return f"sink_properties=device.description={name}"


def _pactl(*words: str) -> str:
    """Return what pactl says."""
    pactl = shutil.which("pactl")
    if pactl is None:
        raise LiveError.no_pactl()
    done = subprocess.run([pactl, *words], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise LiveError.no_virtual_microphone(" ".join(done.stderr.split()) or "no reason given")
    return done.stdout.strip()
