"""One stage of a light voice, in a process of its own; prints its figures as JSON.

python native_side.py STAGE VOICE SOUND [MORE]
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import soundfile
import torch
from torch import Tensor

import sovits
from sovits.audio.loudness import frame_rms
from sovits.audio.mel import LogMel
from sovits.convert import convert_file
from sovits.features.content.student import StudentContent
from sovits.features.pitch import PitchExtractor, load_pitch_extractor
from sovits.models.native import NativeSynthesizer
from sovits.models.noise import NoiseSource
from sovits.stream import VoiceStream

RATE, HOP, PITCH = 44_100, 512, "swift"

Result = dict[str, float]


class Heard(NamedTuple):
    """What the networks are given, of whole frames."""

    encoder: StudentContent
    synthesizer: NativeSynthesizer
    extractor: PitchExtractor
    wave: Tensor
    f0: Tensor
    voiced: Tensor
    volume: Tensor

    def whole(self) -> Tensor:
        """Return what the networks make of all at once, `[samples]`."""
        return self.synthesizer.infer(
            self.encoder.encode(self.wave)[None],
            self.f0[None],
            self.voiced[None],
            torch.tensor([0]),
            volume=self.volume[None],
            noise=NoiseSource(0),
        )[0]


def hear(voice_path: str, source: str) -> Heard:
    """Load a voice and a sound."""
    voice = sovits.load_voice(voice_path)
    encoder, network = voice.content_encoder(), voice.synthesizer
    if not isinstance(encoder, StudentContent) or not isinstance(network, NativeSynthesizer):
        sys.exit(f"{voice_path} is not a light voice that hears with sovits-content")
    wave, _ = sovits.read(source, sample_rate=RATE, mono=True)
    wave = wave[0, : wave.shape[1] // HOP * HOP]
    extractor = load_pitch_extractor(PITCH)
    pitch = extractor(wave, RATE, HOP)
    return Heard(encoder, network, extractor, wave, *pitch, frame_rms(wave, HOP))


def convert(voice_path: str, source: str, precision: str, repeats: int) -> Result:
    """Time files to files; the first of several is a warm-up."""
    voice = sovits.load_voice(voice_path)
    options = sovits.ConvertOptions(f0_method=PITCH, precision=precision)  # type: ignore[arg-type]
    seconds, times = soundfile.info(source).duration, []
    for _ in range(repeats):
        begun = time.process_time()
        convert_file(voice, Path(source), Path("native.out.wav"), options)
        times.append((time.process_time() - begun) / seconds)
    return {"cpu": min(times[1:] or times)}


def parts(voice_path: str, source: str) -> Result:
    """Time encoder, pitch and synthesizer, one by one."""
    heard = hear(voice_path, source)
    content, seconds = heard.encoder.encode(heard.wave)[None], len(heard.wave) / RATE
    told = (heard.f0[None], heard.voiced[None], torch.tensor([0]))

    def least(work: Callable[[], object]) -> float:
        times = []
        for _ in range(6):
            begun = time.process_time()
            work()
            times.append((time.process_time() - begun) / seconds)
        return min(times[1:])

    return {
        "encoder": least(lambda: heard.encoder.encode(heard.wave)),
        "pitch": least(lambda: heard.extractor(heard.wave, RATE, HOP)),
        "synthesizer": least(
            lambda: heard.synthesizer.infer(content, *told, volume=heard.volume[None])
        ),
    }


def start(voice_path: str, source: str) -> Result:
    """Time from imported modules to the first second of sound, on disk."""
    wave, rate = sovits.read(source)
    sovits.write("second.wav", wave[:, :rate], rate)
    begun, wall = time.process_time(), time.perf_counter()
    voice = sovits.load_voice(voice_path)
    convert_file(voice, Path("second.wav"), Path("second.out.wav"))
    return {"cpu": time.process_time() - begun, "wall": time.perf_counter() - wall}


def stream(voice_path: str, source: str, milliseconds: float) -> Result:
    """Compare what a stream makes of chunks with what the networks make of the whole."""
    heard = hear(voice_path, source)
    wave, whole = heard.wave, heard.whole()
    size = round(RATE * milliseconds / 1000)
    one = VoiceStream(heard.encoder, heard.synthesizer)
    sung, times, given, latest = [], [], 0, 0
    for first in range(0, len(wave), size):
        last = min(first + size, len(wave))
        new = slice(first // HOP, last // HOP)
        begun = time.process_time()
        sung.append(one.push(wave[first:last], heard.f0[new], heard.voiced[new], heard.volume[new]))
        times.append(time.process_time() - begun)
        given += len(sung[-1])
        latest = max(latest, last - given)
    joined = torch.cat([*sung, one.finish()])
    if len(joined) != len(whole):
        sys.exit(f"a stream of {len(wave)} samples gave {len(joined)}")
    return {
        "difference": float((joined - whole).abs().max()),
        "peak": float(whole.abs().max()),
        "latency": one.latency,
        "latest": latest,
        "cpu": sum(times) / (len(wave) / RATE),
        "slow_ms": 1000 * sorted(times)[int(0.99 * len(times)) - 1],
    }


def distance(voice_path: str, source: str) -> Result:
    """Return how far bfloat16 moves the sound, and another seed: mean difference of log-mel."""
    voice = sovits.load_voice(voice_path)
    wave, rate = sovits.read(source, mono=True)
    log_mel = LogMel(voice.config.audio)

    def bands(**options: object) -> Tensor:
        chosen = sovits.ConvertOptions(output_rate=RATE, **options)  # type: ignore[arg-type]
        heard: Tensor = log_mel(voice.convert(wave[0], rate, chosen))
        return heard

    full, half, other = bands(), bands(precision="bf16"), bands(seed=1)
    return {"bf16": float((half - full).abs().mean()), "seed": float((other - full).abs().mean())}


def main() -> None:
    """Run one stage."""
    torch.set_num_threads(1)
    name, voice, source, *more = sys.argv[1:]
    stages: dict[str, Callable[[], Result]] = {
        "convert": lambda: convert(voice, source, more[0], int(more[1])),
        "parts": lambda: parts(voice, source),
        "start": lambda: start(voice, source),
        "stream": lambda: stream(voice, source, float(more[0])),
        "distance": lambda: distance(voice, source),
    }
    result = stages[name]()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(result | {"peak_mb": peak}), flush=True)


if __name__ == "__main__":
    main()
