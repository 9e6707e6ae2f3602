"""Every deliberate error and its message: what was found, what was expected, what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Self, TypeVar
from unicodedata import category

MOST_NAMES = 40
"""Names that are listed before the rest is only counted."""
_BREAKING = {"Cc", "Cs", "Zl", "Zp"}
# Unicode categories: controls (line breaks and terminal codes too), surrogates, separators


def _nearest(name: str, known: Iterable[str]) -> str:
    """Return a sentence that names the likeliest spelling, or all of them."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    listed = ", ".join(names[:MOST_NAMES]) or "nothing"
    return f"Did you mean {close[0]}?" if close else f"It may be: {listed}{more}."


def _listed(values: Iterable[object]) -> str:
    """Return a few values as they would be typed."""
    return ", ".join(map(str, values))


def _short(value: object) -> str:
    """Return `value` as it would be typed, cut to a length that fits a line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def one_line(text: str) -> str:
    """Return `text` without what would break a line or upset a terminal."""
    return "".join(c if category(c) not in _BREAKING else "\N{REPLACEMENT CHARACTER}" for c in text)


class SovitsError(Exception):
    """Base of every error raised on purpose; the command line prints it without a traceback.

    Takes one string, so that it survives pickling and keeps its type out of a worker process. It
    is always one line that can be printed, whatever names from strangers' files are in it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class Interrupted(KeyboardInterrupt):
    """Someone ended a long work, which has kept what it had done, and has said so.

    Args:
        signal: Number of the signal that asked for it.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.status = 128 + signal
        """Exit status of the process, as shells have it."""


class UsageError(SovitsError):
    """A command was typed that cannot be understood, or that is not there."""

    @classmethod
    def unknown_command(cls, name: str, known: Iterable[str]) -> Self:
        """There is no such command."""
        return cls(f"There is no command svc {name}. {_nearest(name, known)}")

    @classmethod
    def elsewhere(cls, name: str, known: Iterable[str]) -> Self:
        """A command of so-vits-svc-fork that is not here."""
        return cls(
            f"svc {name} is a command of so-vits-svc-fork, and not part of this version. "
            f"There are: {', '.join(known)}."
        )

    @classmethod
    def unknown_flag(cls, command: str, flag: str, known: Iterable[str]) -> Self:
        """The command has no such flag."""
        close = get_close_matches(flag, sorted(known), n=1)
        hint = f"Did you mean {close[0]}? " if close else ""
        return cls(f"svc {command} has no flag {flag}. {hint}Run svc {command} --help for all.")

    @classmethod
    def unexpected(cls, command: str, word: str) -> Self:
        """A word stands where none is expected."""
        return cls(
            f"svc {command} does not know what {_short(word)} is for. Quote names with spaces, "
            f"and run svc {command} --help for what may be given."
        )

    @classmethod
    def not_understood(cls, command: str, reason: str) -> Self:
        """A value is missing, or of the wrong kind."""
        return cls(f"{reason.rstrip('. ')}. Run svc {command} --help for what may be given.")

    @classmethod
    def needs_extra(cls, extra: str, package: str) -> Self:
        """A command needs a package that is optional."""
        return cls(
            f"svc {extra} needs {package}, which is not installed. "
            f"Run pip install 'sovits[{extra}]'."
        )

    @classmethod
    def base_and_scratch(cls) -> Self:
        """Two ways to begin are asked for."""
        return cls("--base and --from-scratch are two ways to begin. Leave one of them out.")

    @classmethod
    def no_page(cls) -> Self:
        """The graphical page is not made yet."""
        return cls(
            "The page is not part of this version yet; a later one brings it with the extra web. "
            "Use svc infer on the command line."
        )


class ConfigError(SovitsError):
    """A setting is unknown, of the wrong type, or contradicts another."""

    @classmethod
    def no_device(cls, name: str) -> Self:
        """There is no such processor on this machine."""
        return cls(
            f"There is no device {name} on this machine. It may be auto, cpu, cuda, cuda:N or mps; "
            "leave --device out to have the best one chosen."
        )

    @classmethod
    def too_few_devices(cls, kind: str, asked: int, there: int) -> Self:
        """More processors are asked for than there are."""
        return cls(
            f"{asked} devices of kind {kind} are asked for, but there are {there}. "
            "Begin fewer processes: --devices, or --nproc-per-node of torchrun."
        )

    @classmethod
    def other_launch(cls, asked: int, begun: int) -> Self:
        """A launcher has begun another number of processes than the flag says."""
        return cls(
            f"--devices is {asked}, but the launcher has begun {begun} processes on this machine. "
            "Leave --devices out under torchrun and srun."
        )

    @classmethod
    def no_retrieval(cls, path: Path) -> Self:
        """There is no retrieval file."""
        return cls(f"{path} is no file. Name an index or k-means file with -k, or leave -k out.")

    @classmethod
    def not_a_mix(cls, text: str, reason: str) -> Self:
        """Speakers and their shares are not understood."""
        return cls(
            f"{_short(text)} is no mix of speakers ({reason}). "
            "Give each name a share, such as alice:0.7,bob:0.3."
        )

    @classmethod
    def not_a_timeline(cls, path: Path, reason: str) -> Self:
        """A file does not say who sings when."""
        return cls(
            f"{path} is no timeline of speakers ({reason}). It must be a JSON list in order of "
            'time, such as [{"time": 0, "speakers": {"alice": 0.7, "bob": 0.3}}].'
        )

    @classmethod
    def speaker_and_mix(cls, speaker: str, mix: str) -> Self:
        """Who sings is said twice."""
        return cls(
            f"Both the speaker {_short(speaker)} and the timeline {mix} say who sings. "
            "Leave one of them out."
        )

    @classmethod
    def no_prompts(cls, language: str, known: Iterable[str]) -> Self:
        """There is nothing to read in this language."""
        return cls(
            f"There are no sentences to read in {_short(language)}. {_nearest(language, known)} "
            "Or give a text file of your own with --text, a sentence in each line."
        )

    @classmethod
    def no_text(cls, path: Path) -> Self:
        """A text to read cannot be read, or says nothing."""
        return cls(f"{path} holds no sentences to read. It must be text (UTF-8), one in each line.")

    @classmethod
    def unknown_key(cls, key: str, known: Iterable[str]) -> Self:
        """`key` is not a setting; name the nearest one that is."""
        return cls(f"There is no setting {key}. {_nearest(key.rpartition('.')[2], known)}")

    @classmethod
    def not_four_hops(cls, n_fft: int, hop_length: int) -> ConfigError:
        """The light synthesizer cannot overlap such windows."""
        return cls(
            f"The analysis window has {n_fft} samples and a hop {hop_length}, but sovits-native "
            "needs windows of four hops, and hops that four divides. Set filter_length to four "
            "times hop_length."
        )

    @classmethod
    def frames_do_not_cover(cls, n_fft: int, hop_length: int) -> Self:
        """Frames leave samples out."""
        return cls(
            f"audio.n_fft ({n_fft}) must not be below audio.hop_length ({hop_length}), so that "
            "frames cover the sound."
        )

    @classmethod
    def segment_exceeds_context(cls, segment: int, context: int) -> Self:
        """The decoder would render more than the encoders see."""
        return cls(
            f"train.context_frames ({context}) must not be below train.segment_frames "
            f"({segment}): the decoder renders a part of what the encoders see."
        )

    @classmethod
    def rates_disagree(cls, decoder: str, made: int, needed: int) -> Self:
        """A decoder makes too many or too few samples."""
        return cls(
            f"The {decoder} decoder makes {made} samples a frame, but hop_length is {needed}. "
            "Change upsample_rates so that both agree."
        )

    @classmethod
    def no_such_row(cls, speaker: str, row: int, rows: int) -> Self:
        """A speaker has a row beyond the speaker table."""
        return cls(
            f"Speaker {speaker} has row {row}, but the speaker table has rows 0 to {rows - 1}. "
            "Correct spk, or n_speakers."
        )

    @classmethod
    def wrong_value(cls, key: str, found: object, expected: str) -> Self:
        """`key` has a value it cannot have."""
        return cls(f"{key} is {_short(found)}, but must be {expected}.")

    @classmethod
    def no_file(cls, path: Path) -> Self:
        """There is no settings file at `path`."""
        kind = "is a folder" if path.is_dir() else "does not exist"
        return cls(
            f"{path} {kind}, but settings are one JSON file. Name it, or run svc pre-config."
        )

    @classmethod
    def not_json(cls, path: Path, reason: str) -> Self:
        """`path` does not hold settings."""
        return cls(
            f"{path} is not a settings file ({reason}). "
            "It must be JSON, as svc pre-config writes it: make it again, or undo the last edit."
        )

    @classmethod
    def in_file(cls, path: Path, error: Self) -> Self:
        """Name the file that a wrong setting is in."""
        return cls(f"{path}: {error}")

    @classmethod
    def repeated_key(cls, key: str) -> Self:
        """The same name stands twice in one JSON object, so one of the two would be lost."""
        return cls(f"{_short(key)} is set twice. Keep one of the two, or rename one speaker.")

    @classmethod
    def not_supported(cls, key: str, found: object, expected: str) -> Self:
        """A voice of a kind that exists elsewhere, but not here."""
        return cls(
            f"{key} is {_short(found)}, a variant of so-vits-svc that is not supported. "
            f"Only voices with {expected} can be used."
        )

    @classmethod
    def lists_differ(cls, a: str, b: str) -> Self:
        """Two lists must have an entry for each other's."""
        return cls(f"{a} and {b} have different lengths, but are pairs. Correct one of them.")

    @classmethod
    def cannot_move_clips(cls, share: float) -> Self:
        """Clips are to be played at other speeds, but the network cannot be told."""
        return cls(
            f"train.moved is {share:g}, but only a voice of type sovits-native can be told that a "
            "clip's formants have moved. Set it to 0."
        )

    @classmethod
    def content_width(cls, content: str, channels: int, found: int) -> Self:
        """The content encoder does not fit the network."""
        return cls(
            f"model.ssl_dim is {found}, but the content encoder {content} gives {channels} "
            "channels. Set the encoder that this voice was trained with as model.content."
        )

    @classmethod
    def too_large(cls, parameters: float, limit: float) -> Self:
        """The network would not fit into any memory."""
        return cls(
            f"The model section describes a network of about {parameters:.2g} parameters, more "
            f"than {limit:.2g}. Correct its channel counts."
        )


class AudioError(SovitsError):
    """A sound cannot be read, written, or is not what was expected."""

    @classmethod
    def needs_recursive(cls, path: Path) -> Self:
        """A folder was given where one file is expected."""
        return cls(f"{path} is a folder. Name one sound file, or add -re to convert all in it.")

    @classmethod
    def not_a_folder(cls, path: Path) -> Self:
        """One file was given where a folder is expected."""
        return cls(f"{path} is not a folder, but -re needs one. Name a folder, or leave -re out.")

    @classmethod
    def none_named(cls) -> Self:
        """No sound file was named."""
        return cls("There is nothing to work on. Name sound files, or folders that hold some.")

    @classmethod
    def none_in_folder(cls, path: Path) -> Self:
        """There is nothing to convert in a folder."""
        return cls(f"{path} holds no sound file to convert. Results (.out.wav) are left out.")

    @classmethod
    def not_one_channel(cls, shape: tuple[int, ...]) -> Self:
        """A function of one channel was given something else."""
        return cls(
            f"The wave has the shape {shape}, but one channel [samples] is needed. "
            "Take one channel, or their mean."
        )

    @classmethod
    def no_speaker(cls) -> Self:
        """A speaker was asked for where there is only silence."""
        return cls("The sound is silent from end to end, so no speaker can be heard in it.")

    @classmethod
    def too_short_for_content(cls) -> Self:
        """A sound is too short to hold one frame of content."""
        return cls("The sound is too short to hold any content: it needs at least 25 ms. Pad it.")

    @classmethod
    def missing(cls, path: Path) -> Self:
        """There is nothing at `path`."""
        return cls(f"{path} does not exist. Check the spelling of the sound file's path.")

    @classmethod
    def not_a_file(cls, path: Path, *, folder: bool) -> Self:
        """`path` is a folder or a device."""
        found = "a folder" if folder else "not a plain file"
        return cls(f"{path} is {found}. Name one sound file.")

    @classmethod
    def too_long(cls, path: Path, limit_s: float) -> Self:
        """A sound lasts longer than is taken here."""
        return cls(f"{path} lasts longer than {limit_s:g} s, which is all that is taken. Cut it.")

    @classmethod
    def not_readable(cls, path: Path, reason: str) -> Self:
        """The system does not let `path` be read."""
        return cls(f"{path} cannot be opened ({reason}). Check that you may read it.")

    @classmethod
    def not_audio(cls, path: Path, reason: str) -> Self:
        """No decoder knows what `path` holds."""
        return cls(
            f"{path} is not a sound file that can be read, or is cut short ({reason}). "
            "Export it again as wav or flac, or remove it."
        )

    @classmethod
    def no_audio_stream(cls, path: Path) -> Self:
        """`path` is a picture, or a video without sound."""
        return cls(
            f"{path} holds no sound, only pictures or data. Name a file with an audio track."
        )

    @classmethod
    def empty(cls, path: Path) -> Self:
        """`path` holds no sample."""
        return cls(f"{path} is empty: it holds 0 samples of sound. Record or export it again.")

    @classmethod
    def no_samples(cls) -> Self:
        """A wave of no samples was given where at least one is needed."""
        return cls("The wave holds 0 samples, but at least 1 is needed. Leave empty sounds out.")

    @classmethod
    def truncated(
        cls, path: Path, *, found_s: float | None = None, expected_s: float | None = None
    ) -> Self:
        """`path` ends before the length that it promises, or within a block of its data."""
        if found_s is None or expected_s is None:
            return cls(
                f"{path} is cut short: it ends in the middle of its data. Copy or export it again."
            )
        return cls(
            f"{path} is cut short: only {found_s:.2f} s of {expected_s:.2f} s can be read. "
            "Copy or export it again, or save the part that plays as a new file."
        )

    @classmethod
    def damaged(cls, path: Path, *, found_s: float, reason: str) -> Self:
        """Decoding of `path` fails part of the way."""
        return cls(
            f"{path} is damaged after {found_s:.2f} s ({reason}). "
            "Copy or export it again, or save the part that plays as a new file."
        )

    @classmethod
    def out_of_order(cls, *, start: int, stop: int, earliest: int) -> Self:
        """A piece of output lies before, or within, the one that was joined before it."""
        return cls(
            f"A piece of output covers samples {start} to {stop}, but the one before it began at "
            f"{earliest} and must end first. Join pieces in the order in which they are heard."
        )

    @classmethod
    def not_finite(cls, path: Path, *, count: int, first_s: float) -> Self:
        """`path` has samples that are not numbers, or infinite."""
        return cls(
            f"{path} holds {count} samples that are NaN or infinite, the first at {first_s:.3f} s. "
            "Sound is made of finite numbers: export it again from the program that made it."
        )

    @classmethod
    def not_a_wave(cls, shape: tuple[int, ...]) -> Self:
        """A tensor is no sound."""
        return cls(f"A wave of shape {shape} is no sound. Give [samples] or [channels, samples].")

    @classmethod
    def wave_not_finite(cls, count: int) -> Self:
        """A tensor has samples that are no numbers."""
        return cls(f"The wave has {count} samples that are NaN or infinite. Repair it first.")

    @classmethod
    def not_stereo(cls, channels: int) -> Self:
        """Keeping the side needs left and right."""
        return cls(
            f"A side can be kept for 2 channels, but this sound has {channels}. "
            "Choose stereo=both or stereo=mono."
        )


class OutputError(SovitsError):
    """A result cannot be written where it was asked for."""

    @classmethod
    def not_a_folder(cls, path: Path) -> Self:
        """Results of a folder cannot go into a file."""
        return cls(f"{path} is a file, but the results of -re go into a folder. Name a folder.")

    @classmethod
    def same_as_source(cls, path: Path) -> Self:
        """The result would take the place of the recording."""
        return cls(f"{path} is the source itself and would be lost. Give -o another name.")

    @classmethod
    def inside_source(cls, out: Path, source: Path) -> Self:
        """A folder of results lies in the folder that they are made of."""
        return cls(f"{out} lies in {source}, which is only read. Name another folder with -o.")

    @classmethod
    def other_settings_there(cls, path: Path) -> Self:
        """Settings of another voice are where those of a new one belong."""
        return cls(f"{path} is there already, with other settings. Export into another folder.")

    @classmethod
    def not_a_voice(cls, path: Path, suffix: str) -> Self:
        """A voice file must have the suffix by which it is known again."""
        return cls(f"{path} cannot be a voice file. End its name in {suffix}.")

    @classmethod
    def unknown_suffix(cls, path: Path, known: Iterable[str]) -> Self:
        """The name of `path` does not say in which format to write."""
        found = f"the suffix {path.suffix}" if path.suffix else "no suffix"
        return cls(
            f"{path} has {found}, so it cannot be told which format to write. "
            f"End its name in {', '.join(sorted(known))}."
        )

    @classmethod
    def no_folder(cls, path: Path) -> Self:
        """The folder that `path` should be in does not exist."""
        return cls(f"{path} cannot be written: {path.parent} is not a folder. Make it first.")

    @classmethod
    def not_a_file(cls, path: Path) -> Self:
        """`path` is a folder or a device, which must not be replaced."""
        return cls(f"{path} exists and is not a plain file. Name a file to write.")

    @classmethod
    def not_open(cls, path: Path) -> Self:
        """Sound is written to `path` before or after it is open."""
        return cls(f"{path} is not open for writing. Write to it inside `with AudioWriter(...)`.")

    @classmethod
    def cannot_write(cls, path: Path, reason: str) -> Self:
        """The system refuses to write `path`."""
        return cls(
            f"{path} cannot be written ({reason}). Choose another folder, or change this one."
        )

    @classmethod
    def disk_full(cls, path: Path, free: int) -> Self:
        """There is no room left for `path`."""
        return cls(
            f"{path} cannot be written: its disk is full ({free / 1e6:.1f} MB free). "
            "Make room, or choose a folder on another disk."
        )

    @classmethod
    def no_room_to_decode(cls, path: Path, folder: Path, reason: str) -> Self:
        """The decoded samples of `path` find no room on disk."""
        return cls(
            f"{path} cannot be decoded: no room for its samples in {folder} ({reason}). "
            "Make room there, or set TMPDIR to a folder on another disk."
        )

    @classmethod
    def wrong_format(
        cls, path: Path, *, sample_rate: int, channels: int, subtype: str | None = None
    ) -> Self:
        """The format of `path` cannot hold this kind of sound."""
        kind = f" as {subtype}" if subtype else ""
        return cls(
            f"{path} cannot hold {channels} channels at {sample_rate} Hz{kind}. "
            "Write wav or flac, or ask for another sample rate."
        )

    @classmethod
    def wrong_shape(cls, path: Path, *, found: tuple[int, ...], channels: int) -> Self:
        """What is written to `path` has another number of channels than it was opened with."""
        return cls(
            f"{path} was opened for {channels} channels, but was given a wave of shape {found}. "
            "Give it waves of shape [channels, samples]."
        )

    @classmethod
    def not_finite(cls, path: Path, *, count: int, at_s: float) -> Self:
        """A result is not a sound."""
        return cls(
            f"{path} cannot be written: {count} of the samples from {at_s:.3f} s on are NaN or "
            "infinite. Look for what made them: a damaged voice, or too low a precision."
        )


class WeightsError(SovitsError):
    """Weights of a frozen network are missing, or are not the ones expected."""

    @classmethod
    def missing(
        cls, filename: str, source: str, folder: Path, *, because: str = "", instead: str = ""
    ) -> Self:
        """`filename` is nowhere on this machine, and cannot be fetched."""
        reason = f" ({because})" if because else ""
        otherwise = f", or install {instead}" if instead else ""
        return cls(
            f"{filename} is not on this machine and cannot be fetched{reason}. "
            f"Get it from {source} and put it in {folder}{otherwise}."
        )

    @classmethod
    def no_file(cls, path: Path) -> Self:
        """The path that was given leads to no file."""
        return cls(f"{path} is not a file. Give the path of a weights file.")

    @classmethod
    def wrong_hash(cls, path: Path, *, found: str, expected: str) -> Self:
        """A file is damaged, or another one of the same name."""
        return cls(
            f"{path} is not the file expected: its SHA-256 is {found}, not {expected}. "
            "Delete it and get it again."
        )

    @classmethod
    def needs_code(cls, path: Path, instead: str | None = None) -> Self:
        """A checkpoint can only be read by running code that is in it."""
        advice = instead or "a safetensors file, or a state dict saved by torch.save"
        return cls(
            f"{path} holds more than tensors, and reading it could run a program. "
            f"Use {advice} instead."
        )

    @classmethod
    def unreadable(cls, path: Path, reason: object) -> Self:
        """A file is cut short, damaged, or of another kind."""
        line = " ".join(str(reason).split()) or type(reason).__name__
        return cls(
            f"{path} cannot be read as weights: {line[:200]}. "
            "Get it again, or give a .safetensors, .pt, .pth or .bin file."
        )

    @classmethod
    def wrong_layout(cls, path: Path, network: str, problem: str) -> Self:
        """A file holds tensors, but not those of this network."""
        return cls(f"{path} does not hold {network}: {problem}. Give the weights of {network}.")

    @classmethod
    def unknown_encoder(cls, name: str, known: Iterable[str]) -> Self:
        """`name` is not a content encoder."""
        return cls(f"There is no content encoder {name}. {_nearest(name, known)}")


class PitchError(SovitsError):
    """A pitch method is unknown, or what it needs is not installed."""

    @classmethod
    def unknown_method(cls, name: str, known: Iterable[str]) -> Self:
        """`name` is not a pitch method."""
        return cls(f"There is no pitch method {name}. {_nearest(name, known)}")

    @classmethod
    def not_mono(cls, shape: tuple[int, ...]) -> Self:
        """The sound has channels."""
        return cls(
            f"Pitch is measured on one channel, [samples], but the sound has the shape "
            f"{list(shape)}. Choose or mix its channels first."
        )

    @classmethod
    def not_finite(cls, count: int, total: int) -> Self:
        """The sound holds NaN or infinity."""
        return cls(
            f"{count} of {total} samples are not finite numbers, so that they have no pitch. "
            f"Repair the sound first."
        )

    @classmethod
    def no_weights(cls, name: str, path: Path) -> Self:
        """Weights are given to a method that has none."""
        return cls(f"The pitch method {name} has no weights, so {path} is of no use. Leave it out.")

    @classmethod
    def needs_package(cls, name: str, package: str, install: str) -> Self:
        """The method needs a package that is not installed."""
        return cls(
            f"The pitch method {name} needs {package}, which is not installed. "
            f"Run pip install '{install}', or choose another method."
        )


class VoiceError(SovitsError):
    """A voice file is missing, unsafe, damaged, or contradicts its settings."""

    @classmethod
    def nowhere(cls, name: str, known: Iterable[str]) -> Self:
        """There is no such file, and no voice of that name."""
        names = list(known)
        return cls(
            f"{name} does not exist. Name a voice file, G_*.pth, a folder, hub:OWNER/REPO, or a "
            f"voice that svc voices lists. {_nearest(name, names) if names else ''}".rstrip()
        )

    @classmethod
    def ambiguous(cls, name: str, voices: Iterable[tuple[str, Path]]) -> Self:
        """Several voices have that name."""
        listed = " or ".join(f"{full} ({path})" for full, path in voices)
        return cls(f"{name} may be any of several voices. Name one in full: {listed}.")

    @classmethod
    def empty_folder(cls, folder: Path) -> Self:
        """There is no voice in a folder."""
        return cls(
            f"{folder} holds no voice: no G_*.pth and no .safetensors file. "
            "Name another folder, or train with svc train."
        )

    @classmethod
    def none_anywhere(cls, folder: Path) -> Self:
        """There is neither a trained nor a bundled voice."""
        return cls(
            f"There is no voice to use: {folder} holds none, and none is bundled. "
            "Name one with -m, or train with svc train."
        )

    @classmethod
    def missing(cls, path: Path) -> Self:
        """There is no such file."""
        return cls(f"There is no file {path}. Name a voice file, G_*.pth, or their folder.")

    @classmethod
    def not_a_checkpoint(cls, path: Path) -> Self:
        """A file is of another kind than its name says."""
        return cls(
            f"{path} is no voice: it is neither safetensors nor written by torch.save. "
            "Name a .safetensors voice or a G_*.pth."
        )

    @classmethod
    def needs_code(cls, path: Path) -> Self:
        """A file could only be read by running code from it."""
        return cls(
            f"{path} holds more than tensors, and reading it would run code from it. It is not "
            "read; ask its maker for the weights alone."
        )

    @classmethod
    def damaged(cls, path: Path, reason: str) -> Self:
        """A file is cut short or otherwise broken."""
        return cls(f"{path} is damaged ({reason}). Download or copy it again.")

    @classmethod
    def not_a_generator(cls, path: Path, names: list[str]) -> Self:
        """A checkpoint holds another network."""
        shown = ", ".join(name[:80] for name in names[:3])
        held = f"it holds {shown} ..." if names else "it holds no tensors by name"
        return cls(f"{path} is no so-vits-svc generator: {held}. Name a G_*.pth.")

    @classmethod
    def other_kind(cls, path: Path, kind: str) -> Self:
        """A checkpoint is a relative that is not supported."""
        return cls(
            f"{path} is a model of {kind}, which is not supported. Models of so-vits-svc 4.0, "
            "its fork, and 4.1 with the residual flow and the nsf-hifigan vocoder are."
        )

    @classmethod
    def not_finite(cls, path: Path, name: str) -> Self:
        """A tensor has values that are no numbers."""
        return cls(
            f"{path}: {name} holds NaN or infinite values. Use an earlier checkpoint of the voice."
        )

    @classmethod
    def no_config(cls, path: Path, beside: Path) -> Self:
        """A generator comes without settings."""
        return cls(f"{path} needs its config.json, and there is no {beside}. Name it with -c.")

    @classmethod
    def contradiction(cls, path: Path, name: str, found: object, expected: object) -> Self:
        """Tensors and settings are not of the same model."""
        return cls(
            f"{path} does not fit its config: {name} is {found} in the weights, but {expected} in "
            "the config. Name the config.json that belongs to the model with -c."
        )

    @classmethod
    def incomplete(cls, path: Path, missing: list[str]) -> Self:
        """Tensors are missing."""
        shown = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        return cls(
            f"{path} lacks {len(missing)} tensors ({shown}). Download it again, or name the "
            "config.json that belongs to it."
        )

    @classmethod
    def wrong_shape(
        cls, path: Path, name: str, found: tuple[int, ...], expected: tuple[int, ...]
    ) -> Self:
        """A tensor has another shape than the settings say."""
        return cls(
            f"{path}: {name} has the shape {found}, but its settings say {expected}. Name the "
            "config.json that belongs to it."
        )

    @classmethod
    def too_small(cls, path: Path, found: int, expected: float) -> Self:
        """A file cannot hold the network that its settings describe."""
        return cls(
            f"{path} holds {found} numbers, but its settings describe a network of about "
            f"{expected:.2g}. Name the config.json that belongs to it."
        )

    @classmethod
    def bad_header(cls, path: Path, reason: str) -> Self:
        """The settings inside a native voice are wrong."""
        return cls(f"{path} cannot be used: {reason.rstrip('.')}. Export the voice again.")

    @classmethod
    def no_f0_decoder(cls) -> Self:
        """Auto pitch was asked of a voice that cannot."""
        return cls("This voice cannot choose the melody: it has no F0 decoder. Leave auto_f0 off.")

    @classmethod
    def no_range(cls) -> Self:
        """Where the voice can sing is not known, or it sings as it likes."""
        return cls(
            "There is no range of pitch to transpose to: this voice does not tell what it was "
            "trained on, or chooses the melody itself. Transpose with -t instead."
        )

    @classmethod
    def no_formants(cls) -> Self:
        """Formants are to move, of a voice that cannot move them."""
        return cls(
            "This voice cannot move formants apart from the pitch; voices of type sovits-native "
            "can. Leave formants at 0."
        )

    @classmethod
    def not_an_index(cls, path: Path) -> Self:
        """A retrieval file holds something else."""
        return cls(
            f"{path} holds no content vectors by speaker. Name the k-means or index file that was "
            "made for this voice, or make one with svc train-index."
        )

    @classmethod
    def not_in_index(cls, path: Path, speaker: str, known: Iterable[str]) -> Self:
        """A retrieval file has nothing for a speaker."""
        return cls(f"{path} holds nothing for speaker {speaker}. {_nearest(speaker, known)}")

    @classmethod
    def index_width(cls, path: Path, found: int, expected: int) -> Self:
        """A retrieval file was made with another content encoder."""
        return cls(
            f"{path} holds content of {found} channels, but this voice has {expected}. Name the "
            "k-means or index file that was made for this voice."
        )

    @classmethod
    def index_content(cls, path: Path, found: str, expected: str) -> Self:
        """A retrieval file was made with another content encoder, whatever its width."""
        return cls(
            f"{path} was made with the content encoder {_short(found)}, but this voice has "
            f"{expected}. Name the index of this voice, or make one with svc train-index."
        )

    @classmethod
    def index_rate(cls, path: Path, found: float, expected: float) -> Self:
        """A retrieval file was made with another version of the content encoder."""
        return cls(
            f"{path} holds {found:g} frames a second, but this voice's content has {expected:g}. "
            "Make it again with svc train-index."
        )

    @classmethod
    def no_index(cls, beside: Iterable[Path]) -> Self:
        """There is nothing to retrieve from."""
        return cls(
            f"There is nothing to retrieve from: no {' and no '.join(map(str, beside))}. Make one "
            "with svc train-index, name a file with -k, or leave the ratio at 0."
        )

    @classmethod
    def bad_hub_name(cls, name: str) -> Self:
        """A name on the hub is malformed."""
        return cls(f"hub:{name} names no repo. Write hub:OWNER/REPO or hub:OWNER/REPO/FILE.")

    @classmethod
    def no_voice_in_repo(cls, repo: str, files: int) -> Self:
        """A repo holds no voice."""
        return cls(f"{repo} holds {files} files, but no .safetensors and no G_*.pth. Name a file.")

    @classmethod
    def no_config_in_repo(cls, repo: str, file: str, config: str) -> Self:
        """A generator in a repo comes without settings."""
        return cls(f"{file} of {repo} needs its config.json, and there is no {config}. Give -c.")

    @classmethod
    def hub_unreachable(cls, repo: str, file: str, reason: str) -> Self:
        """The hub cannot be reached, and nothing is cached."""
        return cls(
            f"{file} of {repo} is not in the cache and could not be fetched ({reason}). Connect, "
            f"or download it from huggingface.co/{repo} and name the file with -m."
        )

    @classmethod
    def of_our_own(cls, kind: str, known: Iterable[str]) -> Self:
        """A voice is to be written for other programs, which have no such network."""
        return cls(
            f"This voice is of type {kind}, which other programs do not know: only voices of type "
            f"{_listed(known)} can be written as .pth. Export it as .safetensors."
        )

    @classmethod
    def other_settings(cls, one: str, other: str, key: str, a: object, b: object) -> Self:
        """Two voices have networks of which there is no mean."""
        return cls(
            f"{one} and {other} cannot be mixed: {key} is {_short(a)} in the one and {_short(b)} "
            "in the other. Mix voices of the same architecture, content encoder and rate."
        )

    @classmethod
    def other_speakers(cls, one: str, other: str, a: Iterable[str], b: Iterable[str]) -> Self:
        """Two voices have different speakers, so that it is not known whom to mix with whom."""
        return cls(
            f"{one} and {other} cannot be mixed: the speakers are {_short(_listed(a))} in the one "
            f"and {_short(_listed(b))} in the other. Take voices of the same speakers, or make "
            "voices of one speaker first: svc mix VOICE NAME=1."
        )

    @classmethod
    def unknown_speaker(cls, name: str, known: Iterable[str]) -> Self:
        """`name` is not a speaker of the voice."""
        shown = name if len(name) <= 80 else f"{name[:77]}..."
        return cls(f"This voice has no speaker {shown}. {_nearest(shown, known)}")


class RefinerError(SovitsError):
    """A refiner or vocoder is missing, damaged, or was made for another voice."""

    @classmethod
    def missing(cls, what: str, path: Path) -> Self:
        """There is no such file."""
        return cls(f"{path} is no file. Give the path of a {what}.")

    @classmethod
    def damaged(cls, path: Path, what: str, reason: str) -> Self:
        """A file of ours is cut short, or of another kind, or contradicts itself."""
        why = one_line(reason).rstrip(". ")
        return cls(f"{path} cannot be read as a {what}: {why}. Get or make the file again.")

    @classmethod
    def no_settings(cls, path: Path, beside: Iterable[Path]) -> Self:
        """The settings of somebody else's network are not there."""
        names = " or ".join(map(str, beside))
        return cls(f"{path} needs its settings, and there is no {names}. Put them there.")

    @classmethod
    def bad_settings(cls, path: Path, reason: str) -> Self:
        """Settings cannot be read, or hold what no refiner can have."""
        return cls(f"{path} cannot be read as settings: {reason.rstrip('. ')}.")

    @classmethod
    def not_a_refiner(cls, path: Path, names: Iterable[str]) -> Self:
        """A checkpoint holds something else."""
        shown = ", ".join(name[:60] for name in list(names)[:3]) or "no tensors"
        return cls(
            f"{path} is no refiner of so-vits-svc 4.1: it holds {shown}. "
            "Give a model_*.pt of its diffusion."
        )

    @classmethod
    def not_a_vocoder(cls, path: Path, names: Iterable[str]) -> Self:
        """A checkpoint holds something else."""
        shown = ", ".join(name[:60] for name in list(names)[:3]) or "no tensors"
        return cls(
            f"{path} is no NSF-HiFiGAN: it holds {shown}. Give its file called model, which has a "
            "generator in it, or a vocoder of ours."
        )

    @classmethod
    def contradiction(cls, path: Path, name: str, found: object, expected: object) -> Self:
        """Tensors and settings belong to two networks."""
        return cls(
            f"{path}: the tensors tell that {name} is {_short(found)}, but the settings say "
            f"{_short(expected)}. Give the settings that it was trained with."
        )

    @classmethod
    def too_large(cls, path: Path, what: str, found: float, most: float) -> Self:
        """A file describes a network that would fill every memory."""
        return cls(
            f"{path} describes a network with {what} {found:g}, but at most {most:g} are built. "
            "Get it from somebody that you trust."
        )

    @classmethod
    def too_many_steps(cls, k: int, most: int) -> Self:
        """More noise is asked for than the network was trained with."""
        return cls(
            f"{k} steps of noise (k) are asked for, but this refiner was trained for 1 to {most} "
            f"(k_step_max). Take -ks {most} or less."
        )

    @classmethod
    def too_many_evaluations(cls, steps: int, most: int) -> Self:
        """More is asked for than can help."""
        return cls(f"{steps} evaluations are asked for, but this refiner takes 1 to {most}.")

    @classmethod
    def counts_no_steps(cls, k: int) -> Self:
        """A refiner of ours is asked for steps of noise."""
        return cls(
            f"-ks {k} counts the steps of refiners of so-vits-svc, and this is another kind. "
            "Give --refine 0.5, say, or -shd for its own strength."
        )

    @classmethod
    def not_from_noise(cls, most: int, steps: int) -> Self:
        """A network that was trained to refine is to draw all."""
        return cls(
            f"This refiner was trained for {most} of {steps} steps of noise, and cannot draw all "
            "from noise. Leave --only-diffusion out."
        )

    @classmethod
    def no_sampler(cls, name: str, known: Iterable[str]) -> Self:
        """The refiner is of another kind than the sampler."""
        return cls(f"This refiner has no sampler {name}. It may be: {_listed(known)}.")

    @classmethod
    def none(cls) -> Self:
        """Nothing says which refiner to take."""
        return cls(
            "There is no refiner beside this voice. Name one with -dm, "
            "or leave --refine and -shd out."
        )

    @classmethod
    def no_vocoder(cls) -> Self:
        """Nothing says which vocoder to take."""
        return cls(
            "A refiner needs a vocoder, and none is bundled. Name one with --vocoder: one of "
            "svc train-vocoder, or the folder of an NSF-HiFiGAN that you have."
        )

    @classmethod
    def other(cls, what: str, found: object, of: str, expected: object) -> Self:
        """Two networks that are to work together were made for different things."""
        return cls(
            f"The refiner was trained with {what} {found}, but {of} has {expected}. "
            "Take a refiner that was trained for it."
        )

    @classmethod
    def other_vocoder(cls, what: str, found: object, expected: object) -> Self:
        """A vocoder of another mel spectrogram."""
        return cls(
            f"The vocoder takes mels with {what} {found}, but the refiner draws {expected}. "
            "Take another with --vocoder."
        )

    @classmethod
    def other_speakers(cls, found: int, name: str, expected: int) -> Self:
        """A refiner that does not know the speaker, and was trained for another number."""
        plural = "" if found == 1 else "s"
        return cls(
            f"The refiner was trained for {found} speaker{plural}, none of whom is {name}, "
            f"but the voice has {expected}. Take a refiner that was trained for it."
        )


class DatasetError(SovitsError):
    """A folder of recordings or features cannot be trained on."""

    @classmethod
    def no_folder(cls, folder: Path) -> Self:
        """The folder of recordings does not exist."""
        kind = "is not a folder" if folder.exists() else "does not exist"
        return cls(
            f"{folder} {kind}. Put each speaker's recordings into {folder.as_posix()}/SPEAKER/."
        )

    @classmethod
    def no_folder_of_sounds(cls, folder: Path) -> Self:
        """A folder of recordings of whomever does not exist."""
        kind = "is not a folder" if folder.exists() else "does not exist"
        return cls(f"{folder} {kind}. Name the folder that your recordings are in.")

    @classmethod
    def no_sounds(cls, folder: Path, others: int) -> Self:
        """A folder holds no sound at all."""
        found = f"{others} files, but no sound that can be read" if others else "no files"
        return cls(f"{folder} holds {found}. Put recordings (wav, flac, mp3, m4a, ...) into it.")

    @classmethod
    def nobody_heard(cls, folder: Path) -> Self:
        """No recording holds a voice."""
        return cls(f"Nobody is heard in {folder} for as long as a second. Check the recordings.")

    @classmethod
    def nothing_usable(cls, folder: Path, reasons: list[str]) -> Self:
        """All that could be made of recordings is of no use."""
        first = f" (the first because of {reasons[0].rstrip('.')})" if reasons else ""
        return cls(
            f"Nothing in {folder} can be used{first}. Run svc doctor on it to see what is wrong, "
            "and record again."
        )

    @classmethod
    def bad_speaker(cls, name: str) -> Self:
        """What was given as a speaker's name cannot be that of a folder."""
        return cls(
            f"{_short(name)} cannot be the name of a speaker, as it is to be that of a folder. "
            "Choose one without slashes and control characters that begins with no dot."
        )

    @classmethod
    def no_speakers(cls, folder: Path, files: int) -> Self:
        """There are no folders in the folder of recordings."""
        found = f"{files} files, but no folder" if files else "nothing"
        return cls(
            f"{folder} holds {found}. It must hold one folder per speaker, with the recordings in "
            f"it: {folder.as_posix()}/SPEAKER/recording.wav."
        )

    @classmethod
    def no_recordings(cls, folder: Path, skipped: list[str]) -> Self:
        """There are folders of speakers, but no sound in them."""
        found = f" ({skipped[0]}; {len(skipped)} such files)" if skipped else ""
        return cls(
            f"No speaker's folder in {folder} holds a sound file{found}. "
            f"Put recordings into {folder.as_posix()}/SPEAKER/."
        )

    @classmethod
    def no_clips(cls, folder: Path) -> Self:
        """There are folders of speakers, but no clips in them."""
        return cls(
            f"No speaker's folder in {folder} holds a wav file. "
            "Put recordings into dataset_raw/SPEAKER/ and run svc pre-resample."
        )

    @classmethod
    def bad_name(cls, path: Path) -> Self:
        """A speaker's name cannot be written into a list or a JSON file."""
        return cls(
            f"The folder {str(path)!a} has a name that cannot be kept as a speaker's: it "
            "holds control or undecodable characters. Rename it."
        )

    @classmethod
    def too_few_clips(cls, speaker: str, found: int, needed: int) -> Self:
        """A speaker has not enough clips to keep some for validation."""
        return cls(
            f"Speaker {speaker} has {found} usable clips, but needs at least {needed}. Add "
            f"recordings to dataset_raw/{speaker}, or remove the folder, and prepare again."
        )

    @classmethod
    def nothing_made(cls, what: str, first: str, count: int) -> Self:
        """Every file failed."""
        return cls(
            f"No {what} could be made: all {count} files were left out, the first because "
            f"{first} Correct the files, and run this again."
        )

    @classmethod
    def not_finite_features(cls, path: Path, name: str) -> Self:
        """A frozen network made NaN of a clip."""
        return cls(
            f"The {name} of {path} is not made of finite numbers. "
            "Remove the clip, or use another --f0-method."
        )

    @classmethod
    def no_filelist(cls, path: Path) -> Self:
        """There is no list of clips."""
        return cls(f"There is no list of clips {path}. Make it with svc pre-config.")

    @classmethod
    def empty_filelist(cls, path: Path) -> Self:
        """The list of clips names none."""
        return cls(f"{path} names no clips. Put recordings into dataset_raw, and run pre-resample.")

    @classmethod
    def clip_of_nobody(cls, clip: Path, known: Iterable[str]) -> Self:
        """The folder of `clip` is no speaker of the configuration."""
        return cls(
            f"{clip} belongs to {clip.parent.name}, which is no speaker of the configuration. "
            f"{_nearest(clip.parent.name, known)} Run svc pre-config again."
        )

    @classmethod
    def no_features(cls, path: Path) -> Self:
        """A clip has no features file."""
        return cls(f"There is no features file {path}. Make it with svc pre-hubert.")

    @classmethod
    def damaged_features(cls, path: Path, reason: str) -> Self:
        """A features file cannot be read."""
        return cls(
            f"{path} is damaged ({reason}). Delete it and make it again with svc pre-hubert."
        )

    @classmethod
    def not_a_filelist(cls, path: Path, reason: str) -> Self:
        """A list of clips is no text."""
        return cls(f"{path} is no list of clips ({reason}). Make it again with svc pre-config.")

    @classmethod
    def other_features(cls, path: Path, key: str, found: object, expected: str) -> Self:
        """A features file was made with another setting than the configuration has."""
        return cls(
            f"{path} was made with {key} {found}, but the configuration has {expected}. "
            "Run svc pre-hubert again."
        )

    @classmethod
    def mixed_features(cls, path: Path, found: object, expected: object) -> Self:
        """Features of several content encoders lie in one folder, or of none that is known."""
        return cls(
            f"{path} was made with content {found}, but others with {expected}. "
            "Run svc pre-hubert again, and delete what it does not make."
        )

    @classmethod
    def too_few_frames(cls, speaker: str, found: int, needed: int) -> Self:
        """A speaker has too little content to choose from."""
        return cls(
            f"Speaker {speaker} has {found} of the {needed} frames of content that an index needs, "
            "about a second. Add recordings, or remove the speaker's folder."
        )

    @classmethod
    def clips_too_short(cls, found_s: float, needed_s: float) -> Self:
        """No clip is as long as one training segment."""
        return cls(
            f"The longest clip lasts {found_s:.2f} s, but training needs {needed_s:.2f} s. "
            "Add longer recordings, or lower train.segment_size."
        )


class TrainingError(SovitsError):
    """Training cannot start or go on."""

    @classmethod
    def diverged(cls, step: int, terms: dict[str, float]) -> Self:
        """A term of the loss is not finite."""
        bad = ", ".join(f"{name} is {x}" for name, x in terms.items() if not isfinite(x))
        return cls(
            f"Training diverged at step {step}: {bad}. The last checkpoint is sound; lower "
            "learning_rate, or use precision fp32."
        )

    @classmethod
    def no_pair(cls, name: str, known: Iterable[str]) -> Self:
        """There is nothing to begin with."""
        return cls(
            f"{_short(name)} is no base to begin with. Name a G_*.pth with its D_*.pth beside it, "
            "a folder of such, a .safetensors base, hub:OWNER/REPO/G_0.pth, or one of: "
            f"{_listed(known)}."
        )

    @classmethod
    def other_base(cls, path: Path) -> Self:
        """Another base is there already."""
        return cls(
            f"{path} is there already, and is another base. Delete it and its pair, or train in "
            "another folder with -m."
        )

    @classmethod
    def base_unfit(cls, path: Path) -> Self:
        """A base was made for other settings."""
        return cls(
            f"{path} is no base for this configuration: it was made for another type, content "
            "encoder or rate. Run svc pre-config with those, or leave --base out."
        )

    @classmethod
    def base_unreachable(cls, repo: str, file: str, because: str) -> Self:
        """The hub does not give a base."""
        return cls(
            f"{file} of {repo} cannot be fetched from the Hugging Face hub ({because}). Check the "
            "name and the network; the same command goes on where the download broke off."
        )

    @classmethod
    def base_damaged(cls, path: Path, stated: str) -> Self:
        """A base is not what the hub says that it is."""
        return cls(
            f"{path} is damaged: its SHA-256 is not {stated}, as the hub states. Delete it, and "
            "run the same command again."
        )

    @classmethod
    def at_work(cls, folder: Path, process: int, machine: str) -> Self:
        """Another training is at work in the same folder."""
        who = f" (process {process} on {machine})" if process else ""
        return cls(
            f"Another training is at work in {folder}{who}. Wait for its end or end it, or train "
            "in another folder with -m."
        )

    @classmethod
    def out_of_memory(cls, device: str, batch_size: int) -> Self:
        """A step does not fit into memory."""
        advice = (
            f"Set train.batch_size to {batch_size // 2}, or to auto"
            if batch_size > 1
            else "Lower train.context_frames, train.segment_size or model.discriminator_width"
        )
        return cls(
            f"Memory of {device} ran out in a step of {batch_size} "
            f"{'clips' if batch_size > 1 else 'clip'}. {advice}, and train again: it goes on from "
            "the last checkpoint."
        )

    @classmethod
    def diverged_elsewhere(cls) -> Self:
        """A term of the loss is not finite in another process."""
        return cls(
            "Training diverged in another process, which says how. The last checkpoint is sound; "
            "lower learning_rate, or use precision fp32."
        )

    @classmethod
    def process_lost(cls, rank: int, size: int) -> Self:
        """Another process of the same training has ended."""
        return cls(
            f"Process {rank} of {size} has lost the others: one of them has ended, or cannot be "
            "reached. See what it says; then train again, to go on from the last checkpoint."
        )

    @classmethod
    def other_machines(cls, step: int, steps: list[int]) -> Self:
        """Processes do not read the same checkpoints."""
        return cls(
            f"The processes would go on from different steps ({_listed(steps)}). The folder of "
            f"checkpoints must lie on storage that all machines share; step {step} is the first's."
        )

    @classmethod
    def no_sound_checkpoint(cls, folder: Path, path: Path, reason: str) -> Self:
        """All checkpoints are damaged."""
        return cls(
            f"No checkpoint in {folder} can be read; the newest is {path.name} ({reason}). Move "
            "the damaged G_*.pth and D_*.pth away to start afresh, or restore a copy."
        )

    @classmethod
    def weights_not_finite(cls, step: int) -> Self:
        """Weights have become NaN or infinite, though no term of the loss had."""
        return cls(
            f"Training diverged at step {step}: weights are NaN or infinite. The last checkpoint "
            "is sound; lower learning_rate, or use precision fp32."
        )

    @classmethod
    def other_network(cls, path: Path, reason: str) -> Self:
        """A checkpoint of this training has other shapes than the configuration."""
        return cls(
            f"{path} does not fit the configuration ({reason}). Undo the change of the model "
            "section, or name another folder with -m and put the pair there as G_0.pth and D_0.pth "
            "to begin from what fits."
        )

    @classmethod
    def base_fits_nowhere(cls, path: Path, names: list[str]) -> Self:
        """A base is the file of another kind of network."""
        held = ", ".join(names[:3]) or "nothing"
        return cls(
            f"{path} has no tensor that fits the configuration: it holds {held} ... Put a pair of "
            "so-vits-svc 4.0 there, or move it away to start from random weights."
        )

    @classmethod
    def speaker_moved(cls, name: str, row: int, before: int, beside: Path) -> Self:
        """The numbers of the speakers have changed under a training."""
        return cls(
            f"Speaker {name} has row {row} in the configuration, but row {before} in the training "
            f"that {beside} is of. Set spk.{name} to {before} and give new speakers rows that are "
            "free, or train in another folder with -m."
        )


class SeparationError(SovitsError):
    """A song cannot be taken apart as asked."""

    @classmethod
    def unknown_model(cls, name: str, known: Iterable[str]) -> Self:
        """Nothing of this name separates."""
        return cls(f"There is no separation model {_short(name)}. {_nearest(name, known)}")

    @classmethod
    def no_package(cls, what: str, package: str, extra: str, *, alone: str = "") -> Self:
        """The package that holds a network is not installed."""
        light = f", or for nothing but that: {alone}" if alone else ""
        return cls(
            f"{what} needs the package {package}, which is not installed. "
            f"Run pip install 'sovits[{extra}]'{light}."
        )

    @classmethod
    def package_fails(cls, model: str, reason: object) -> Self:
        """Another package cannot fetch or run a model."""
        return cls(
            f"audio-separator could not separate with {model} ({_short(str(reason))}). Check the "
            "network, or take another --model: spleeter-2stems needs none."
        )

    @classmethod
    def too_many_channels(cls, path: Path, channels: int) -> Self:
        """A cover is made of mono or stereo."""
        return cls(
            f"{path} has {channels} channels, but a cover is made of a mono or stereo song. "
            "Mix it down first."
        )

    @classmethod
    def no_vocals(cls, path: Path, below: float) -> Self:
        """Nobody sings in a song."""
        found = f"what is left of them lies {-below:.0f} LU below it" if isfinite(below) else "none"
        return cls(
            f"{path} has no vocals that can be heard ({found}). Name a song that is sung, or use "
            "svc infer for what is no song."
        )


class EvaluationError(SovitsError):
    """A conversion cannot be measured as asked."""

    @classmethod
    def unknown_metric(cls, name: str, known: Iterable[str]) -> Self:
        """`name` is nothing that is measured."""
        return cls(f"There is no metric {_short(name)}. {_nearest(name, known)}")

    @classmethod
    def needs_packages(
        cls, metrics: list[str], packages: list[str], extra: str, others: list[str]
    ) -> Self:
        """Packages that metrics need are not installed."""
        need, them = ("needs", "it") if len(metrics) == 1 else ("need", "them")
        are = "which is" if len(packages) == 1 else "which are"
        return cls(
            f"{' and '.join(metrics)} {need} {', '.join(packages)}, {are} not installed. "
            f"Run pip install '{extra}', or leave {them} out: --metrics {','.join(others)}."
        )

    @classmethod
    def package_fails(cls, package: str, reason: object) -> Self:
        """A package is installed, but does not work on this machine."""
        return cls(
            f"{package} is installed, but does not work here ({_short(str(reason))}). Install it "
            "again, or choose other metrics with --metrics."
        )

    @classmethod
    def no_sources(cls) -> Self:
        """There is nothing to convert."""
        return cls("There is nothing to evaluate. Name recordings, or folders that hold some.")

    @classmethod
    def silent(cls, path: Path) -> Self:
        """A recording holds no sound."""
        return cls(f"{path} is silent from end to end, so nothing can be measured. Leave it out.")

    @classmethod
    def no_target(cls, voice: Path) -> Self:
        """Nobody knows whom a voice is to sound like."""
        return cls(
            f"{voice} comes without a recording of its target. Name a folder of them with "
            "--target, or leave out what needs one: --metrics intelligibility,pitch,quality,speed."
        )

    @classmethod
    def no_target_sounds(cls, folder: Path) -> Self:
        """The folder of the target holds no sound."""
        found = "holds no sound file" if folder.is_dir() else "does not exist"
        return cls(f"{folder} {found}. Name a folder of recordings of the target with --target.")

    @classmethod
    def unknown_language(cls, language: str, known: Iterable[str]) -> Self:
        """The recogniser does not know a language."""
        return cls(f"There is no language {_short(language)}. {_nearest(language, known)}")

    @classmethod
    def bad_text(cls, path: Path, reason: object) -> Self:
        """The text beside a recording is none."""
        return cls(
            f"{path} is no text of what is said in the recording beside it "
            f"({_short(str(reason))}). Write it as UTF-8, or move the file away."
        )


class WorkerError(SovitsError):
    """Work that is shared out to processes or machines cannot go on, or a part of it failed."""

    @classmethod
    def unexpected(cls, out: Path, error: Exception) -> Self:
        """A job failed in a way that nobody thought of."""
        text = " ".join(str(error).split())
        said = f": {text[:300]}" if text else ""
        return cls(
            f"{out} could not be made ({type(error).__name__}{said}). If its source and the disk "
            "are sound, please report this."
        )

    @classmethod
    def given_up(cls, out: Path, tries: int, reason: str) -> Self:
        """A job has cost several workers."""
        return cls(
            f"{out} was given up, as {tries} workers in turn were lost over it; of the last, "
            f"{reason}. Try it with fewer at once: --workers 1."
        )

    @classmethod
    def stopped(cls, reason: str) -> Self:
        """A job failed without which there is no result."""
        return cls(reason)

    @classmethod
    def none_begins(cls, tries: int, reason: str) -> Self:
        """Workers end before they have done anything."""
        return cls(
            f"No worker can begin: {tries} in turn were lost before they had a file; of the last, "
            f"{reason}. Try it in this process: --workers 1, without --ray."
        )

    @classmethod
    def no_ray(cls) -> Self:
        """The package is optional."""
        return cls("--ray needs Ray, which is not installed. Run pip install 'sovits[cluster]'.")

    @classmethod
    def no_cluster(cls, address: str, reason: object) -> Self:
        """There is no cluster to be found."""
        at = "on this machine" if address == "auto" else f"at {_short(address)}"
        return cls(
            f"There is no Ray cluster {at} ({_short(' '.join(str(reason).split()))}). Begin one "
            "with ray start --head, or give its address: --ray HOST:6379."
        )

    @classmethod
    def not_admitted(cls, address: str, reason: object) -> Self:
        """Something is there that this machine cannot join."""
        return cls(
            f"The Ray cluster at {_short(address)} does not let this machine in "
            f"({_short(' '.join(str(reason).split()))}). Both need the same version of Ray, and "
            "the same authentication token, if the cluster has one; whoever runs it can say."
        )

    @classmethod
    def no_room(cls, address: str, seconds: float, what: str) -> Self:
        """A cluster has nothing free."""
        return cls(
            f"The Ray cluster {address} had no {what} free for {seconds:g} s. Wait for what else "
            "runs on it, or add machines with ray start --address=HOST:6379."
        )

    @classmethod
    def not_shared(cls, host: str, path: Path) -> Self:
        """A machine of a cluster does not see a file that this one sees."""
        return cls(
            f"The machine {host} does not see {path}. Put it where all machines of the cluster "
            "see it under the same path."
        )

    @classmethod
    def other_version(cls, host: str, found: str, expected: str) -> Self:
        """A machine of a cluster has another version of this package."""
        return cls(
            f"The machine {host} has sovits {found}, and this one {expected}. Install the same on "
            "all machines of the cluster."
        )


class LiveError(SovitsError):
    """A live conversion cannot begin or go on."""

    @classmethod
    def wrong_setting(cls, name: str, value: float, low: float, high: float) -> Self:
        """Sound cannot be cut so."""
        return cls(f"{name} is {value:g}, but must be between {low:g} and {high:g}.")

    @classmethod
    def no_sounddevice(cls) -> Self:
        """The optional package is missing."""
        return cls(
            "svc vc needs sounddevice, which is not installed. Run pip install 'sovits[live]'."
        )

    @classmethod
    def no_portaudio(cls) -> Self:
        """The library that sounddevice needs is missing."""
        return cls(
            "sounddevice does not find the PortAudio library. Install it (on Debian and Ubuntu: "
            "apt install libportaudio2)."
        )

    @classmethod
    def no_device(cls, kind: str, wanted: str | None, there: list[str]) -> Self:
        """There is no such microphone or loudspeaker."""
        if not there:
            return cls(
                f"There is no {kind} device. Plug one in, or check that you may use sound; "
                "svc vc --list-devices shows what there is."
            )
        return cls(
            f"There is no {kind} device {_short(wanted)}. There are: {', '.join(there)}; "
            "svc vc --list-devices shows their numbers."
        )

    @classmethod
    def several_devices(cls, kind: str, wanted: str, found: list[str]) -> Self:
        """A part of a name fits several devices."""
        return cls(
            f"{_short(wanted)} fits several {kind} devices: {', '.join(found)}. Give more of the "
            "name, or the number that svc vc --list-devices shows."
        )

    @classmethod
    def cannot_open(cls, name: str, rate: int, reason: str) -> Self:
        """A device is busy, or refuses the rate or the user."""
        return cls(
            f"{_short(name)} cannot be opened at {rate} Hz ({_short(reason)}). Close what uses "
            "it, check that you may use it, or choose another: svc vc --list-devices."
        )

    @classmethod
    def no_refiner(cls) -> Self:
        """A refiner draws a sound in many steps, which takes longer than the sound."""
        return cls("A refiner is too slow to be used live. Leave refine and only_refiner out.")

    @classmethod
    def too_slow(cls, block: float, taken: float, would: float | None) -> Self:
        """This machine needs longer for a sound than the sound lasts."""
        found = (
            f"This voice is too slow for this machine: {1000 * block:.0f} ms of sound take "
            f"{1000 * taken:.0f} ms."
        )
        if would is not None:
            return cls(f"{found} Blocks of {would:.1f} s would hold: -b {would:.1f}.")
        return cls(
            f"{found} Close other programs, add --precision auto, take less context "
            "(-ab 0.3), or choose a light voice such as -m heart, for which -b is short."
        )

    @classmethod
    def no_chirp(cls) -> Self:
        """The microphone did not hear the loudspeaker."""
        return cls(
            "The microphone did not hear the loudspeaker. Put it close, raise the volume, or "
            "connect the output to the input with a cable."
        )

    @classmethod
    def no_pactl(cls) -> Self:
        """There is no PulseAudio or PipeWire to be told."""
        return cls(
            "--virtual-mic needs pactl of PulseAudio or PipeWire (on Debian and Ubuntu: apt "
            "install pulseaudio-utils). Elsewhere, choose a virtual cable with -o."
        )

    @classmethod
    def no_virtual_microphone(cls, reason: str) -> Self:
        """The sound server refuses."""
        return cls(
            f"The sound server makes no virtual microphone ({_short(reason)}). Check that "
            "PulseAudio or PipeWire runs: pactl info."
        )


class ServerError(SovitsError):
    """A server cannot begin, or refuses a request."""

    status = 400
    """What it is in HTTP."""

    @classmethod
    def needs_web(cls, package: str) -> Self:
        """A package of the extra is not installed."""
        return cls(f"svc serve needs {package}, which is not installed: pip install 'sovits[web]'.")

    @classmethod
    def open_to_all(cls, host: str) -> Self:
        """Other machines could reach a server that asks nobody who they are."""
        return cls(
            f"--host {host} lets other machines in, so a token is needed. Add --token, or set "
            "$SOVITS_TOKEN, to what you shall tell those who may use it."
        )

    @classmethod
    def weak_token(cls, least: int) -> Self:
        """A token can be guessed."""
        return cls(
            f"A token needs at least {least} characters, letters, digits and -._~+/= alone. "
            "python -c 'import secrets; print(secrets.token_urlsafe())' makes one."
        )

    @classmethod
    def no_port(cls, host: str, port: int, reason: str) -> Self:
        """The address cannot be had."""
        return cls(f"{host}, port {port}, cannot be used ({reason}). Choose another --port.")

    @classmethod
    def folder_in_use(cls, folder: Path) -> Self:
        """Two servers would do the same jobs."""
        return cls(f"Another server works in {folder}. End it, or choose another --folder.")

    @classmethod
    def bad_folder(cls, folder: Path, reason: str) -> Self:
        """Jobs cannot be kept, or not be read again."""
        return cls(
            f"Jobs cannot be kept in {folder} ({reason}). Choose another --folder, or remove it."
        )

    @classmethod
    def wrong_host(cls) -> Self:
        """A name was used that is not this server's, as pages do that mean harm."""
        return _answered(
            cls("The server is not known by this name. Use the address that svc serve printed."),
            403,
        )

    @classmethod
    def wrong_origin(cls) -> Self:
        """A page of someone else asks in the name of whoever looks at it."""
        return _answered(
            cls("A page of another site sent this, and only the server's own pages may."), 403
        )

    @classmethod
    def no_token(cls) -> Self:
        """Nobody knows who asks."""
        return _answered(
            cls("The server's token is missing or wrong. Send Authorization: Bearer TOKEN."), 401
        )

    @classmethod
    def too_fast(cls) -> Self:
        """There are too many requests from one address."""
        return _answered(cls("That is too much at once. Wait a second, and go on slower."), 429)

    @classmethod
    def too_many_uploads(cls, most: int) -> Self:
        """Too many sounds come in at once."""
        return _answered(
            cls(f"{most} sounds are on their way in, as many as may be. Try again in a while."), 429
        )

    @classmethod
    def too_large(cls, most: int) -> Self:
        """What is sent is larger than is taken."""
        return _answered(
            cls(f"That is more than {most / 1e6:g} MB, which is all that is taken. Cut it."), 413
        )

    @classmethod
    def too_slow(cls, seconds: float) -> Self:
        """A sound takes too long to come in."""
        return _answered(
            cls(f"The sound was not there within {seconds:g} s. Send less, or compress it."), 408
        )

    @classmethod
    def queue_full(cls, most: int, whose: str) -> Self:
        """Enough work waits already."""
        return _answered(
            cls(f"{most} jobs {whose} wait already. Try again when one of them is done."), 429
        )

    @classmethod
    def store_full(cls, most: int) -> Self:
        """What is kept takes up all the room that it may."""
        return _answered(
            cls(
                f"Sounds and results fill the {most / 1e9:g} GB that they may. Delete jobs that "
                "are done, or wait until they expire."
            ),
            429,
        )

    @classmethod
    def no_form(cls) -> Self:
        """Nothing that was sent can be read as a form."""
        return cls("A form (multipart/form-data) is needed, with a file audio, and a text voice.")

    @classmethod
    def no_field(cls, name: str) -> Self:
        """A field of a form is missing or of the wrong kind."""
        return cls(f"The form has no {name}, or not of the kind that is needed; see /openapi.json.")

    @classmethod
    def names_a_file(cls, option: str) -> Self:
        """An option would have the server open a file."""
        return cls(f"{option} names a file, and files cannot be named from here. Leave it out.")

    @classmethod
    def not_understood(cls, where: str, reason: str) -> Self:
        """A part of a request has another form than it should have."""
        return _answered(cls(f"{_short(where)} is not understood: {reason.rstrip('.')}."), 422)

    @classmethod
    def no_voice(cls, known: Iterable[str]) -> Self:
        """No voice has this identifier."""
        return _answered(cls(f"There is no such voice. It may be: {_listed(known)}."), 404)

    @classmethod
    def voice_unusable(cls, name: str, reason: str) -> Self:
        """A voice is there, but nothing can be done with it."""
        return _answered(cls(f"The voice {name} cannot be used: {reason}"), 409)

    @classmethod
    def no_job(cls) -> Self:
        """No job has this identifier."""
        return _answered(
            cls("There is no such job. It has expired, or was deleted, or never was."), 404
        )

    @classmethod
    def no_result(cls, state: str) -> Self:
        """A job has not made anything yet, or never will."""
        return _answered(cls(f"The job is {state}, so there is no result."), 409)

    @classmethod
    def job_failed(cls, reason: str) -> Self:
        """There is no result, for a reason that is known."""
        return _answered(cls(reason), 422)

    @classmethod
    def nothing_here(cls, status: int) -> Self:
        """An address is not known, or not used so."""
        return _answered(
            cls("Nothing is served at this address in this way. /openapi.json has all."), status
        )

    @classmethod
    def failed(cls) -> Self:
        """The server itself is at fault."""
        return _answered(cls("The server made a mistake, which it has written to its log."), 500)

    @classmethod
    def job_given_up(cls, tries: int, reason: str) -> Self:
        """A job has cost several workers, or was at work whenever the server ended."""
        return cls(
            f"The job was given up after {tries} beginnings; of the last, {reason}. "
            "Try a shorter sound, or other options."
        )


S = TypeVar("S", bound=ServerError)


def _answered(error: S, status: int) -> S:
    """Return an error that is answered with another status of HTTP."""
    error.status = status
    return error
