"""Our live conversion, inside the work folder.

python live_our_side.py VOICE-BLOCK[-bf16] | soak-SECONDS | picture-BLOCK
"""

from __future__ import annotations

import io
import json
import random
import re
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from live_clip import RATE, clip, feed

import sovits
from sovits.features.content import load_content_encoder
from sovits.realtime.session import Devices, LiveSession
from sovits.realtime.settings import LiveSettings
from sovits.realtime.stream import LiveConverter
from sovits.realtime.virtual import VirtualCard, VirtualDevice

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "live.svg"
HUBERT = Path("lengyue233/content-vec-best/model.safetensors")


def converter(name: str, rate: int, block: float, **options: Any) -> LiveConverter:
    """Return a voice at work: a bundled one, or the random one that the fork made."""
    voice = sovits.load_voice(name if name != "hifi-gan" else "hifi-gan/G_1.pth")
    if name == "hifi-gan":
        voice._encoder = load_content_encoder("contentvec-768l12", path=HUBERT)
    settings = LiveSettings(block, gate_db=-45.0)
    return LiveConverter(voice, rate, sovits.ConvertOptions(**options), settings)


def speed(name: str, block: float, precision: str) -> dict[str, float]:
    """Return what a voice costs."""
    method = "dio" if name == "hifi-gan" else "swift"
    live = converter(name, RATE, block, precision=precision, f0_method=method)
    made = feed(lambda wave: live.push(torch.from_numpy(wave)).numpy(), block)
    return made | {"algorithm_ms": 1000 * live.latency / RATE}


def megabytes() -> float:
    """Return the memory that this process occupies now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def soak(seconds: float) -> dict[str, float]:
    """Let a session run on a virtual clock, with all that may happen to one, and say how it went.

    Devices are lost, options change, the driver sends nonsense, and the second device's clock is
    off by 0.01 %.
    """
    chance, wave, rate = random.Random(0), clip(), RATE

    def sound(first: int, count: int) -> Any:
        heard = wave[(first + np.arange(count)) % len(wave)]
        if chance.random() < 0.001:
            heard = np.full(count, chance.choice([np.nan, np.inf, 1e30]), np.float32)
        return heard

    played = {"peak": 0.0, "wrong": 0.0}
    microphone = VirtualDevice("microphone", rate, 441, inputs=1, sound=sound)
    speaker = VirtualDevice("speaker", rate, 512, outputs=2, drift=1e-4)
    card = VirtualCard(microphone, speaker)
    block = 0.0929
    session = LiveSession(
        lambda rate: converter("heart", rate, block), card, Devices(), block, clock=card.clock
    )
    session.open()
    begun, losses, early = time.process_time(), 0, 0.0
    memory: list[float] = []
    while card.time < seconds:
        card.drive(session, 10.0)
        for part in speaker.played:
            played["wrong"] += float((~np.isfinite(part)).sum())
            played["peak"] = max(played["peak"], float(np.abs(part).max()))
        speaker.played.clear()
        memory.append(megabytes())
        early = early or (memory[-1] if card.time > min(120.0, seconds / 4) else 0.0)
        options = sovits.ConvertOptions(
            semitones=chance.uniform(-12, 12), formants=chance.choice([-2.0, 0.0, 2.0])
        )
        session.ask(lambda live, options=options: live.change(options))
        # 200 times in an hour.
        for _ in range(round(200 / 3600 * (10 + chance.random() * 16))):
            losses += 1
            speaker.plugged = False
            card.drive(session, 0.3)
            speaker.plugged = True
            card.drive(session, 1.2)
    status = session.status()
    return {
        "seconds": card.time,
        "cpu": (time.process_time() - begun) / card.time,
        "losses": status.losses,
        "asked": losses,
        "misses": status.misses,
        "faults": status.faults,
        "wrong": played["wrong"],
        "peak": played["peak"],
        "grown_mb": memory[-1] - early,
        "latency_ms": 1000 * status.latency,
        "waiting": float(bool(status.waiting)),
    }


def picture(block: float) -> dict[str, float]:
    """Write what the terminal shows to docs/live.svg: of a virtual card, in processor time."""
    from rich.console import Console

    from sovits.cli.live_view import Controls, panel

    wave = clip()

    def sound(first: int, count: int) -> Any:
        return wave[(first + np.arange(count)) % len(wave)]

    card = VirtualCard(VirtualDevice("card", RATE, 256, inputs=1, outputs=2, sound=sound))
    session = LiveSession(
        lambda rate: converter("heart", rate, block, semitones=3.0),
        card,
        Devices(),
        block,
        clock=time.process_time,
    )
    session.open()
    card.drive(session, 2.9)
    console = Console(record=True, width=74, file=io.StringIO())
    console.print(panel("heart", session.status(), Controls(3.0)))
    drawn = console.export_svg(title="svc vc -m heart -t 3")
    # Fonts would be fetched from elsewhere.
    PICTURE.write_text(re.sub(r"@font-face \{.*?\}\n", "", drawn, flags=re.DOTALL), "utf-8")
    return {"latency_ms": 1000 * session.status().latency}


def main() -> None:
    """Run one stage."""
    torch.set_num_threads(1)
    name, value, *more = (
        sys.argv[1].rsplit("-", 2) if "bf16" in sys.argv[1] else (*sys.argv[1].rsplit("-", 1),)
    )
    precision = "bf16" if more else "fp32"
    if name == "soak":
        result = soak(float(value))
    elif name == "picture":
        result = picture(float(value))
    else:
        result = speed(name, float(value), precision)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
