"""Translate `config.json`, as so-vits-svc 4.x and the fork know it, from and to `Config`."""

from __future__ import annotations

import json
import os
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any, get_type_hints

from sovits.config import (
    AudioConfig,
    Config,
    DiscriminatorConfig,
    NativeConfig,
    SynthesizerConfig,
    TrainConfig,
    VoiceConfig,
    typed,
)
from sovits.errors import ConfigError
from sovits.legacy.keys import (
    CHANNELS,
    COMPOSED,
    DEAD,
    ENCODERS,
    NATIVE,
    OTHER_ENCODERS,
    REQUIRED,
    SETTINGS,
    Setting,
)
from sovits.legacy.limits import check_finite, check_range, check_shape

MAX_BYTES = 4 << 20
"""Settings larger than this (bytes) are no settings."""
AUTO = "auto"
"""Batch size that is found when a training begins."""
MAX_DEPTH = 6
"""How deeply JSON objects and lists may be nested."""

_ROOMS: dict[str, type] = {
    "train": TrainConfig,
    "audio": AudioConfig,
    "synthesizer": SynthesizerConfig,
    "native": NativeConfig,
    "discriminator": DiscriminatorConfig,
}

Table = dict[str, Any]


def read_config(path: Path) -> tuple[Config, list[str]]:
    """Read a `config.json`.

    Returns:
        The settings, and a sentence for each thing in the file that has no effect here or is not
        known, for the caller to show.

    Raises:
        ConfigError: The file is missing, is not JSON, or holds what no voice can have.
    """
    if not path.is_file():
        raise ConfigError.no_file(path)
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ConfigError.not_json(path, f"{size / 1e6:.0f} MB are too large")
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError.not_json(path, "it is not UTF-8 text") from error
    except OSError as error:
        raise ConfigError.not_json(path, error.strerror or "it cannot be opened") from error
    try:
        return config_from_json(_parse(path, text))
    except ConfigError as error:
        if str(error).startswith(str(path)):
            raise
        raise ConfigError.in_file(path, error) from error


def write_config(path: Path, config: Config) -> None:
    """Write `config` as JSON, in one step, so that no reader sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(config_to_json(config), indent=2, ensure_ascii=False, allow_nan=False)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text + "\n", "utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def config_from_json(table: Table) -> tuple[Config, list[str]]:
    """Translate the contents of a `config.json`; see `read_config`."""
    sections = _sections(table)
    values, notes = _gather(sections), list[str]()
    speakers = typed(dict[str, int], sections["spk"], "spk")
    for name, row in speakers.items():
        check_range(f"spk.{name}", row, 0, 1_000_000)
    rows = sorted(speakers.values())
    if any(a == b for a, b in pairwise(rows)):
        notes.append("Some names in spk share a row of the speaker table: they are one voice.")
    audio = AudioConfig(**values["audio"])
    native = _is_native(sections)
    network = values["native" if native else "synthesizer"]
    content, network["content_channels"] = _content(sections, network)
    synthesizer = NativeConfig(**network) if native else SynthesizerConfig(**network)
    check_shape(audio, synthesizer)
    config = Config(
        VoiceConfig(audio, synthesizer, content, speakers),
        DiscriminatorConfig(**values["discriminator"]),
        TrainConfig(**values["train"], **_train_extras(sections["train"], audio, values["train"])),
    )
    return config, notes + _remarks(sections)


def config_to_json(config: Config) -> Table:
    """Return `config` under the keys of a `config.json`; `config_from_json` gives it back."""
    native = isinstance(config.voice.synthesizer, NativeConfig)
    rooms = {
        "train": config.train,
        "audio": config.voice.audio,
        "native" if native else "synthesizer": config.voice.synthesizer,
        "discriminator": config.discriminator,
    }
    table: Table = {"train": {}, "data": {}, "model": {}, "spk": dict(config.voice.speakers)}
    for setting in _settings(native=native):
        section, _, key = setting.key.partition(".")
        table[section][key] = _listed(getattr(rooms[setting.room], setting.name))
    train, audio, content = config.train, config.voice.audio, config.voice.content
    table["train"]["batch_size"] = train.batch_size or AUTO
    table["train"] |= {
        "fp16_run": train.precision == "fp16",
        "bf16_run": train.precision == "bf16",
        "segment_size": train.segment_frames * audio.hop_length,
    }
    table["data"]["win_length"] = audio.n_fft
    if content.startswith("contentvec-"):
        table["data"]["contentvec_final_proj"] = content == "contentvec-256l9"
    table["model"]["content"] = content
    for name, ours in ENCODERS.items():
        if ours == content and not name.endswith("-onnx"):
            table["model"]["speech_encoder"] = name
    return table


def _listed(value: Any) -> Any:
    """Return tuples as the lists that JSON has."""
    return [_listed(item) for item in value] if isinstance(value, tuple) else value


def _parse(path: Path, text: str) -> Table:
    """Return the JSON object in `text`."""

    def once(pairs: list[tuple[str, Any]]) -> Table:
        table: Table = {}
        for name, value in pairs:
            if name in table:
                raise ConfigError.repeated_key(name)
            table[name] = value
        return table

    def refuse(constant: str) -> None:
        raise ConfigError.not_json(path, f"{constant} is not a number")

    try:
        table = json.loads(text, object_pairs_hook=once, parse_constant=refuse)
    except RecursionError as error:
        raise ConfigError.not_json(path, "it is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise ConfigError.not_json(path, f"line {error.lineno}: {error.msg}") from error
    except ValueError as error:
        raise ConfigError.not_json(path, "it holds a number of thousands of digits") from error
    if not isinstance(table, dict):
        raise ConfigError.not_json(path, "it holds no object")
    level: list[Any] = [table]
    for _ in range(MAX_DEPTH):
        level = [item for outer in level for item in _inside(outer)]
    if level:
        raise ConfigError.not_json(path, "it is nested too deeply")
    return table


def _inside(value: Any) -> list[Any]:
    """Return the entries of a JSON object or list."""
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _sections(table: Table) -> dict[str, Table]:
    """Return the four sections; one that is left out is empty."""
    if not isinstance(table, dict):
        raise ConfigError.wrong_value("The configuration", table, "an object")
    sections = {name: table.get(name, {}) for name in COMPOSED}
    if not any(name in table for name in ("train", "data", "model")):
        raise ConfigError.unknown_key(next(iter(table), "(none)"), COMPOSED)
    for name, section in sections.items():
        if not isinstance(section, dict):
            raise ConfigError.wrong_value(name, section, "an object")
    sections["others"] = {name: table[name] for name in table if name not in sections}
    return sections


def _is_native(sections: dict[str, Table]) -> bool:
    """Return whether a configuration is of this project's own architecture."""
    return bool(sections["model"].get("type_") == NATIVE)


def _settings(*, native: bool) -> list[Setting]:
    """Return the settings that voices of one architecture have."""
    other = "synthesizer" if native else "native"
    return [setting for setting in SETTINGS if setting.room != other]


def _gather(sections: dict[str, Table]) -> dict[str, Table]:
    """Return the values of the simple settings for each part of `Config`."""
    values: dict[str, Table] = {room: {} for room in _ROOMS}
    types = {room: get_type_hints(kind) for room, kind in _ROOMS.items()}
    for setting in _settings(native=_is_native(sections)):
        section, _, key = setting.key.partition(".")
        if key not in sections[section]:
            continue
        value = sections[section][key]
        if key == "ssl_dim" and value is None:
            continue
        if key == "batch_size" and isinstance(value, str):
            if not value.startswith(AUTO):  # the fork has also where to begin: auto-8-64
                raise ConfigError.wrong_value(setting.key, value, f"a whole number, or {AUTO}")
            values[setting.room][setting.name] = 0
            continue
        check_finite(setting.key, value)
        value = typed(types[setting.room][setting.name], value, setting.key)
        check_range(setting.key, value, setting.low, setting.high)
        values[setting.room][setting.name] = value
    return values


def _train_extras(section: Table, audio: AudioConfig, values: Table) -> Table:
    """Return the training settings that more than one key speaks of."""
    extras: Table = {}
    half, bf16 = (
        typed(bool, section.get(key, False), f"train.{key}") for key in ("fp16_run", "bf16_run")
    )
    kind = section.get("half_type", "fp16")
    if kind not in ("fp16", "bf16"):
        raise ConfigError.wrong_value("train.half_type", kind, "fp16 or bf16")
    if half and bf16:
        raise ConfigError.wrong_value("train.bf16_run", bf16, "false if train.fp16_run is true")
    if half or bf16:
        extras["precision"] = "bf16" if bf16 else kind
    hop, frames = audio.hop_length, TrainConfig.segment_frames
    if "segment_size" in section:
        size = section["segment_size"]
        check_finite("train.segment_size", size)
        size = typed(int, size, "train.segment_size")
        check_range("train.segment_size", size, hop, 100_000 * hop)
        if size % hop:
            raise ConfigError.wrong_value(
                "train.segment_size", size, f"a multiple of data.hop_length ({hop})"
            )
        frames = size // hop
    extras["segment_frames"] = frames
    if "context_frames" not in values:
        extras["context_frames"] = max(frames, TrainConfig.context_frames)
    return extras


def _content(sections: dict[str, Table], synthesizer: Table) -> tuple[str, int]:
    """Return the name and channels of the content encoder, from whatever says which it was."""
    model, data = sections["model"], sections["data"]
    width: int | None = synthesizer.get("content_channels")
    projected = typed(bool | None, data.get("contentvec_final_proj"), "data.contentvec_final_proj")
    by_width = {768: "contentvec-768l12", 256: "contentvec-256l9", 512: "whisper-base"}
    by_width[CHANNELS["sovits-content"]] = "sovits-content"
    if "content" in model:
        content: str = typed(str, model["content"], "model.content")
    elif "speech_encoder" in model:
        name: str = typed(str, model["speech_encoder"], "model.speech_encoder")
        content = ENCODERS.get(name, name)
        if name in OTHER_ENCODERS:
            known = ", ".join(sorted({*CHANNELS}))
            raise ConfigError.not_supported("model.speech_encoder", name, f"one of {known}")
        if content not in CHANNELS:
            known = ", ".join([*ENCODERS, *CHANNELS])
            raise ConfigError.wrong_value("model.speech_encoder", name, f"one of {known}")
    elif projected is not None:
        content = "contentvec-256l9" if projected else "contentvec-768l12"
    elif width is not None:
        if width not in by_width:
            raise ConfigError.not_supported(
                "model.ssl_dim", width, "768, 512, 256 or 192, or one that model.content explains"
            )
        content = by_width[width]
    else:
        # The fork reads a missing contentvec_final_proj as true: layer 9, projected to 256.
        content = "sovits-content" if _is_native(sections) else "contentvec-256l9"
    channels = CHANNELS.get(content, width)
    if channels is None:
        raise ConfigError.wrong_value("model.ssl_dim", None, f"the channels of {content[:40]}")
    if width not in (None, channels):
        raise ConfigError.content_width(content, channels, width or 0)
    return content, channels


def _remarks(sections: dict[str, Table]) -> list[str]:
    """Refuse variants that need another network; return what has no effect or is not known."""
    audio, model = sections["data"], sections["model"]
    for key, expected in REQUIRED.items():
        if key in model and model[key] != expected:
            raise ConfigError.not_supported(
                f"model.{key}", model[key], f"{key} {json.dumps(expected)}"
            )
    window, n_fft = audio.get("win_length"), audio.get("filter_length", AudioConfig.n_fft)
    if window not in (None, n_fft):
        raise ConfigError.wrong_value("data.win_length", window, f"filter_length ({n_fft})")
    settings = _settings(native=_is_native(sections))
    known = {
        section: {s.key.partition(".")[2] for s in settings if s.key.startswith(f"{section}.")}
        | {*COMPOSED[section], *DEAD[section], *(REQUIRED if section == "model" else ())}
        for section in ("train", "data", "model")
    }
    dead = [f"{s}.{key}" for s, keys in DEAD.items() for key in keys if key in sections[s]]
    notes = [f"Without effect here: {', '.join(dead)}."] if dead else []
    unknown = {"": sections["others"]} | {f"{s}.": sections[s] for s in known}
    for prefix, section in unknown.items():
        names = known.get(prefix[:-1], {*COMPOSED})
        for key in section:
            if key in names:
                continue
            close = get_close_matches(key[:80], names, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            notes.append(f"{prefix}{key[:80]} is not a setting and is left out.{hint}")
    return notes
