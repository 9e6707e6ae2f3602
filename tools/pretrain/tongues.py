"""Speak in many languages: clips that a speech content encoder learns sounds from.

Only the sounds count. The text is names of countries, regions and languages in 39 languages.
Debian packages: ``iso-codes festival flite espeak-ng`` (``--copyleft``: ``festival-hi -mr -te``).

=======================  =========================  ==================================
voice                    kind                       licence of the voice
=======================  =========================  ==================================
festvox-ru               Russian, unit selection    Festival's (BSD-like)
festvox-ca-ona-hts       Catalan, HTS               LGPL-2.1+
festvox-suopuhe-lj, -mv  Finnish, diphones          LGPL-2+, only by ``--copyleft``
festvox-us-slt-hts       English, HTS               CMU's (BSD-like)
festvox-kallpc16k        English, diphones          Festival's (BSD-like)
flite-awb, -rms, -slt    English, clustergen        CMU's (BSD-like)
espeak-LANGUAGE          formants                   GPL-3+ (the program)
festvox-hi, mr, te-nsk   Indian, diphones           GPL-2+, only by ``--copyleft``
festvox-italp, itapc16k  Italian, diphones          GPL-2+, only by ``--copyleft``
=======================  =========================  ==================================

The output of a GPL program is free, but a diphone voice pastes its recordings into the clip, so
that those under the GPL or LGPL are left out unless ``--copyleft`` asks for them (and only them).
A clip depends on the seed, the voice and its number only; files that exist are kept.
"""

from __future__ import annotations

import argparse
import random
import re
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile as sf

MIN_SECONDS, MAX_SECONDS = 2.5, 10.0
MAX_MINUTES = 10.0
PEAK = 10 ** (-3 / 20)
LOCALE_FOLDER = Path("/usr/share/locale")
LOCALES = {"pt-br": "pt_BR", "en": "de"}
CHARACTERS_PER_SECOND = {"ko": 5.0, "ja": 7.0}  # of text; 13 in other languages
ESPEAK = """pl cs sk uk ru bg sr hr sl lt lv et fi hu ro de nl sv da nb is pt pt-br es fr it ca el
    tr ar fa hi bn ta vi ja ko id sw"""
NSK = (("hi", "hindi"), ("mr", "marathi"), ("te", "telugu"))
VARIANTS = ("", "+m1", "+m2", "+m3", "+m4", "+m5", "+m6", "+m7", "+f1", "+f2", "+f3", "+f4")
UNREADABLE = re.compile(r"[^\w\s'’\-\u0300-\u036f\u064b-\u065f\u0900-\u0dff\u200c\u200d]|[\d_]")


class Voice(NamedTuple):
    """One voice of one synthesizer; `weight` is its share of the minutes."""

    name: str
    program: str
    voice: str
    language: str
    weight: float
    encoding: str = "utf-8"
    copyleft: bool = False


VOICES = (
    Voice("festvox-ru", "festival", "msu_ru_nsh_clunits", "ru", 9),
    Voice("festvox-ca-ona-hts", "festival", "upc_ca_ona_hts", "ca", 8, "latin-1"),
    Voice("festvox-suopuhe-lj", "festival", "suo_fi_lj_diphone", "fi", 6, "latin-1", copyleft=True),
    Voice("festvox-suopuhe-mv", "festival", "hy_fi_mv_diphone", "fi", 6, "latin-1", copyleft=True),
    Voice("festvox-us-slt-hts", "festival", "cmu_us_slt_arctic_hts", "en", 4, "ascii"),
    Voice("festvox-kallpc16k", "festival", "kal_diphone", "en", 3, "ascii"),
    Voice("flite-awb", "flite", "awb", "en", 6, "ascii"),
    Voice("flite-rms", "flite", "rms", "en", 6, "ascii"),
    Voice("flite-slt", "flite", "slt", "en", 4, "ascii"),
    *(Voice(f"espeak-{code}", "espeak-ng", code, code, 0.55) for code in ESPEAK.split()),
    *(
        Voice(f"festvox-{c}-nsk", "festival", f"{v}_NSK_diphone", c, 4, copyleft=True)
        for c, v in NSK
    ),
    Voice("festvox-italp16k", "festival", "lp_diphone", "it", 4, "latin-1", copyleft=True),
    Voice("festvox-itapc16k", "festival", "pc_diphone", "it", 4, "latin-1", copyleft=True),
)


def read_catalogue(path: Path) -> dict[str, str]:
    """Read a compiled gettext catalogue: English name to translated name."""
    data = path.read_bytes()
    count, originals, translations = struct.unpack_from("<3I", data, 8)

    def text(table: int, index: int) -> str:
        size, start = struct.unpack_from("<2I", data, table + 8 * index)
        return data[start : start + size].decode("utf-8")

    return {text(originals, i): text(translations, i) for i in range(1, count)}


def read_names(voice: Voice) -> list[str]:
    """Return the names that a voice can read, sorted."""
    folder = LOCALE_FOLDER / LOCALES.get(voice.language, voice.language) / "LC_MESSAGES"
    names: set[str] = set()
    for path in (folder / f"iso_{code}.mo" for code in ("3166-1", "3166-2", "639-2", "639-3")):
        for english, translated in read_catalogue(path).items() if path.is_file() else ():
            if english != translated:
                names.add(english if voice.language == "en" else translated)
    plain = {re.split(r"[;,(\[/،、]", name)[0].strip() for name in names}
    plain = {name for name in plain if 3 <= len(name) <= 40 and not UNREADABLE.search(name)}
    plain = {n for n in plain if n == n.encode(voice.encoding, "ignore").decode(voice.encoding)}
    native = {name for name in plain if not re.search("[A-Za-z]", name)}
    plain = native if len(native) > len(plain) / 2 else plain
    if voice.language == "ja":  # espeak-ng spells Chinese characters out in English
        plain = {name for name in plain if re.fullmatch("[ぁ-ヿ]+", name)}
    if len(plain) < 50:
        raise SystemExit(f"{folder}: {len(plain)} names for {voice.name}; install iso-codes")
    return sorted(plain)


def command(voice: Voice, text: str, wav: Path, rng: random.Random) -> list[str]:
    """Return the command that speaks `text` to `wav`, at a random speed and pitch."""
    stretch = round(rng.uniform(0.85, 1.25), 2)
    if voice.program == "espeak-ng":
        speed, pitch = str(round(160 / stretch)), str(rng.randint(25, 75))
        name = voice.voice + rng.choice(VARIANTS)
        return ["espeak-ng", "-v", name, "-s", speed, "-p", pitch, "-w", str(wav), "--", text]
    if voice.program == "flite":
        shift = round(rng.uniform(0.85, 1.2), 2)
        features = ["--setf", f"duration_stretch={stretch}", "--setf", f"f0_shift={shift}"]
        return ["flite", "-voice", voice.voice, *features, "-t", text, "-o", str(wav)]
    setting = f"(Parameter.set 'Duration_Stretch {stretch})"
    if voice.voice.endswith("_hts"):  # whose engine has a rate of its own
        setting = f'(set! hts_engine_params (cons \'("-r" {1 / stretch:.2f}) hts_engine_params))'
    script = f"(begin (voice_{voice.voice}) {setting})"
    source = wav.with_suffix(".txt")
    source.write_bytes(text.encode(voice.encoding))
    return ["text2wave", "-eval", script, "-o", str(wav), str(source)]


def speak(voice: Voice, text: str, rng: random.Random) -> tuple[np.ndarray, int]:
    """Return the sound of a text, trimmed and with its peak at -3 dBFS, and its sample rate."""
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "clip.wav"
        line = command(voice, text, wav, rng)
        try:
            subprocess.run(line, check=True, capture_output=True, timeout=60)
            wave, sample_rate = sf.read(wav, dtype="float32", always_2d=True)
        except OSError as error:
            raise SystemExit(f"{voice.name}: cannot run {line[0]}: {error}") from error
        except (subprocess.SubprocessError, sf.LibsndfileError):
            return np.zeros(0, np.float32), 16000  # some names are beyond some voices
    mono = wave.mean(axis=1)
    hop = sample_rate // 50
    levels = np.abs(mono[: len(mono) // hop * hop]).reshape(-1, hop).max(axis=1, initial=0.0)
    loud = np.flatnonzero(levels > 0.01 * levels.max(initial=0.0))
    start, stop = (max(loud[0] - 2, 0), loud[-1] + 3) if len(loud) else (0, 0)
    kept = mono[start * hop : stop * hop]
    return kept * (PEAK / np.abs(kept).max(initial=1e-9)), sample_rate


def make_clip(voice: Voice, names: list[str], path: Path, seed: int) -> float:
    """Speak one clip to `path`, unless it exists, and return its length in seconds."""
    if not path.exists():
        rng = random.Random(f"{seed}/{voice.name}/{path.stem}")
        for _ in range(20):
            length = rng.uniform(3.0, 8.0) * CHARACTERS_PER_SECOND.get(voice.language, 13.0)
            chosen = [rng.choice(names)]
            while sum(map(len, chosen)) < length and len(chosen) < 12:
                chosen.append(rng.choice(names))
            wave, sample_rate = speak(voice, ", ".join(chosen) + ".", rng)
            if MIN_SECONDS <= len(wave) / sample_rate <= MAX_SECONDS:
                break
        else:
            raise SystemExit(f"{voice.name}: no phrase of {MIN_SECONDS:g} to {MAX_SECONDS:g} s")
        partial = path.with_name(f".{path.name}")
        sf.write(partial, wave, sample_rate, subtype="PCM_16", format="WAV")
        partial.replace(path)
    return float(sf.info(path).duration)


def main(argv: list[str] | None = None) -> None:
    """Make the clips, voices in turn, so that an interrupted run is a mixed set too."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder; gets VOICE/NNNN.wav")
    parser.add_argument("--minutes", type=float, default=70.0, help="of all voices together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--copyleft",
        action="store_true",
        help="only the voices with recordings under the GPL or LGPL",
    )
    args = parser.parse_args(argv)
    voices = [voice for voice in VOICES if voice.copyleft == args.copyleft]
    share = args.minutes / sum(voice.weight for voice in voices)
    goals = {voice: 60 * min(share * voice.weight, MAX_MINUTES) for voice in voices}
    names = {voice: read_names(voice) for voice in voices}
    seconds, counts = dict.fromkeys(voices, 0.0), dict.fromkeys(voices, 0)
    while waiting := [voice for voice in voices if seconds[voice] < goals[voice]]:
        voice = min(waiting, key=lambda v: seconds[v] / goals[v])
        counts[voice] += 1
        path = args.out / voice.name / f"{counts[voice]:04d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        seconds[voice] += make_clip(voice, names[voice], path, args.seed)
    for voice in voices:
        print(f"{voice.name}: {seconds[voice] / 60:.1f} min, {counts[voice]} clips")


if __name__ == "__main__":
    main()
