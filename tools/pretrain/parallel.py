"""Make the parallel sentences of the content-versus-speaker probe: seven voices, the same words.

The voices are those of ``speak.py``, whose environment (packages, ``KOKORO_JA_CACHE``) this needs
too. Run it before ``probe.py``::

    python tools/pretrain/parallel.py --out parallel

It writes ``parallel/VOICE/NN.wav`` (mono, 44.1 kHz, 16-bit) and ``parallel/sentences.txt``. Tempo
and level are drawn once per sentence, alike for every voice. Files that exist are kept.
``kokoro-3`` to ``kokoro-5`` speak here and nowhere else: nothing may be trained on them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from speak import (
    SPEAKERS,
    generator,
    heart_speaker,
    joe_speaker,
    kokoro_speaker,
    trim,
    write_clip,
)

SENTENCES = (
    "The quick grey horse jumped over a wooden fence near the river.",
    "She bought seven fresh oranges and a loaf of dark bread this morning.",
    "Please close the window before the cold wind blows the candles out.",
    "My younger brother wants to learn how to play the violin next year.",
    "A strange noise came from the kitchen while everybody was sleeping.",
    "They usually travel to the mountains when the summer gets too hot.",
    "The judge asked both witnesses to speak slowly and very clearly.",
    "Fifty paper boats were floating down the street after the storm.",
    "I would rather choose the yellow jacket than that ugly purple one.",
    "The old museum shows a valuable collection of ships and charts.",
    "We should have thought about the weather before leaving the house.",
    "Every evening the teacher checks each page of their measurements.",
)


def main(argv: list[str] | None = None) -> None:
    """Speak every sentence in every voice that the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder; gets VOICE/NN.wav")
    parser.add_argument("--voices", nargs="+", default=list(SPEAKERS), choices=SPEAKERS)
    args = parser.parse_args(argv)

    import onnxruntime as ort
    from hibari import Hibari

    ort.set_seed(1)
    hibari = Hibari(threads=1)
    for name in args.voices:
        folder = args.out / name
        folder.mkdir(parents=True, exist_ok=True)
        if name == "heart":
            speak, rate = heart_speaker(hibari)
        else:
            speak, rate = joe_speaker() if name == "joe" else kokoro_speaker(name)
        seconds = 0.0
        for number, sentence in enumerate(SENTENCES):
            path = folder / f"{number:02d}.wav"
            if path.exists():
                continue
            rng = generator("parallel", number)
            sound = trim(speak(hibari.g2p(sentence), rng), rate)
            seconds += write_clip(path, sound, rate, generator("parallel", number, "level"))
        print(f"{name}: {seconds:.1f} s made", flush=True)
    lines = [f"{number:02d} {sentence}" for number, sentence in enumerate(SENTENCES)]
    (args.out / "sentences.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
