"""A session on a JACK server, and a client that plays pulses to it; prints what it heard as JSON.

A process of its own, as PortAudio does not survive the end of a server that it has seen.

python jack_side.py RATE BLOCK SECONDS
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import jack
import numpy as np
import torch

from sovits.realtime.device import PortAudio
from sovits.realtime.session import Devices, LiveSession
from sovits.realtime.settings import LiveSettings
from sovits.realtime.stream import LiveConverter

sys.path.insert(0, str(Path(__file__).parents[1]))
from stand_ins import whistler

RATE, BLOCK, SECONDS = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])


class Original(LiveConverter):
    """Lets the original through, as late as a voice would be."""

    latency = 4000

    def __init__(self, rate: int) -> None:
        super().__init__(whistler(), rate, settings=LiveSettings(gate_db=-200.0))
        self.latency, self.held = 4000, torch.zeros(4000)

    def push(self, wave: Any) -> Any:
        """Return what came `latency` samples ago."""
        self.held = torch.cat([self.held, wave])
        out, self.held = self.held[: len(wave)], self.held[len(wave) :]
        return out

    def skip(self, samples: int) -> Any:
        """Return as many samples."""
        return self.push(torch.zeros(samples))


class Harness:
    """Plays pulses to what PortAudio hears, and hears what it plays."""

    def __init__(self) -> None:
        self.client = jack.Client("harness", no_start_server=True)
        self.out = self.client.outports.register("out")
        self.heard = self.client.inports.register("heard")
        self.places: list[int] = []
        self.xruns = self.count = 0
        self.client.set_process_callback(self._process)
        self.client.set_xrun_callback(self._late)

    def _process(self, frames: int) -> None:
        place = (self.count + np.arange(frames)) % (RATE // 4)
        self.out.get_array()[:] = 0.5 * (place == RATE // 8)
        found = np.flatnonzero(self.heard.get_array() > 0.2)
        self.places += [int(place) + self.count for place in found]
        self.count += frames

    def _late(self, _microseconds: float) -> None:
        self.xruns += 1


def main() -> None:
    """Run for a while."""
    card, harness = PortAudio(), Harness()
    number = next(str(x.number) for x in card.devices() if x.api.startswith("JACK"))
    session = LiveSession(Original, card, Devices(number, number), BLOCK)
    begun, joined = time.monotonic(), False

    def tick() -> bool:
        nonlocal joined
        if not joined and session.players and session.players[0].ring.largest:
            names = [port.name for port in harness.client.get_ports("PortAudio.*")]
            harness.client.connect(harness.out, next(n for n in names if ":in_0" in n))
            harness.client.connect(next(n for n in names if ":out_0" in n), harness.heard)
            joined = True
        return time.monotonic() - begun < SECONDS

    with harness.client:
        session.run(tick)
    status = session.status()
    late = [(place - RATE // 8) % (RATE // 4) for place in harness.places]
    told = {"late": late, "misses": status.misses, "xruns": harness.xruns}
    print(json.dumps(told | {"latency": status.latency, "lost": status.losses}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
