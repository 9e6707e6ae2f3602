"""Print the tables of the documentation that are made of the code, so that they cannot drift.

    python tools/flags.py            # print them all
    python tools/flags.py --write    # put them into docs/guide.md and docs/voice-format.md

A table is known in a document by its first line. `tests/docs` holds the documents to it.
"""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from sovits.choices import field_docs
from sovits.cli.options import FLAGS, Flag
from sovits.cli.parse import COMMANDS
from sovits.config import (
    AudioConfig,
    ConvertOptions,
    NativeConfig,
    SynthesizerConfig,
    VoiceConfig,
)
from sovits.features.content import CONTENT
from sovits.features.content.whisper import POSITIONS
from sovits.features.pitch import PITCH_METHODS, crepe, fcpe, rmvpe, swift
from sovits.features.speaker import SPEAKER
from sovits.legacy.keys import NATIVE
from sovits.legacy.presets import PRESETS
from sovits.legacy.settings import config_to_json
from sovits.prepare.filelists import BEST_ENCODER, BUNDLED_ENCODER
from sovits.prepare.lengths import LENGTHS, of_length
from sovits.weights import WeightsFile

DOCS = Path(__file__).parents[1] / "docs"
VALUES = {Path: "PATH", float: "FLOAT", int: "INT", str: "STR"}
"""What stands for a value in `--help`."""


class Option(NamedTuple):
    """One flag of a command, or the word that it is about."""

    names: list[str]
    value: str
    default: str
    meaning: str


def table(*rows: Sequence[str]) -> str:
    """Return rows of cells as Markdown; the first row is the head."""
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|---" * len(rows[0]) + "|", *body])


def code(text: object) -> str:
    """Return `text` as Markdown that is not to be read as Markdown."""
    return f"`{text}`"


def shown(value: object) -> str:
    """Return the default of a flag."""
    if value is None or value is MISSING:
        return "none" if value is None else "required"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def as_json(value: object) -> str:
    """Return a value as it stands in a JSON file."""
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
    return code(json.dumps(int(value) if whole else value))  # type: ignore[arg-type]


def options(command: str) -> list[Option]:
    """Return the flags of `svc COMMAND`, in the order in which its help has them."""
    kind = COMMANDS[command]
    assert isinstance(kind, type)
    return _options(kind)


def _options(kind: type) -> list[Option]:
    """Return the flags of a dataclass, and of those inside it."""
    found: list[Option] = []
    docs, hints = field_docs(kind), get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        notes = getattr(hints[field.name], "__metadata__", ())
        arg = next((note for note in notes if hasattr(note, "metavar")), None)
        hint = hints[field.name]
        want = get_args(hint)[0] if notes else hint
        if want is ConvertOptions:
            taken = inspect.signature(arg.constructor_factory()).parameters
            found += [_conversion(x) for x in fields(ConvertOptions) if x.name in taken]
        elif is_dataclass(want) and isinstance(want, type):
            found += _options(want)
        elif any("POSITIONAL" in repr(note).upper() for note in notes):
            found.append(Option([arg.metavar], "", _default(field), docs[field.name]))
        else:
            flag = Flag(arg.aliases or (), arg.name, arg.metavar) if arg else Flag()
            found.append(_option(field, flag, want, docs[field.name]))
    return found


def _conversion(field: Field[Any]) -> Option:
    """Return the flag of one field of `ConvertOptions`."""
    flag = FLAGS.get(field.name, Flag())
    want = get_type_hints(ConvertOptions)[field.name]
    return _option(field, flag, want, field_docs(ConvertOptions)[field.name] + flag.hint)


def _option(field: Field[Any], flag: Flag, want: Any, meaning: str) -> Option:
    """Return one flag, with its short names first."""
    name = flag.name or field.name.replace("_", "-")
    names = sorted([f"--{name}", *flag.aliases], key=lambda word: word.startswith("--"))
    return Option(names, flag.metavar or _value(want), _default(field), meaning)


def _value(want: Any) -> str:
    """Return what stands for a value of a type; nothing for a switch."""
    if get_origin(want) is Literal:
        return "{" + ",".join(map(str, get_args(want))) + "}"
    if get_args(want):
        want = next(kind for kind in get_args(want) if kind is not NoneType)
    return VALUES.get(want, "")


def _default(field: Field[Any]) -> str:
    return shown(field.default)


def flags(command: str) -> str:
    """Return the flags of one command."""
    rows = [
        (", ".join(map(code, [*o.names[:-1], f"{o.names[-1]} {o.value}".strip()])), *o[2:])
        for o in options(command)
    ]
    return table((f"`svc {command}`", "default", "meaning"), *rows)


def presets() -> str:
    """Return what the types of `svc pre-config` set differently from one another."""
    made = {
        name: config_to_json(make(BUNDLED_ENCODER if name == NATIVE else BEST_ENCODER, {"a": 0}))
        for name, make in PRESETS.items()
    }
    rows = []
    for section in ("train", "data", "model"):
        for key in dict.fromkeys(key for config in made.values() for key in config[section]):
            values = [
                as_json(config[section][key]) if key in config[section] else "–"
                for config in made.values()
            ]
            if len({value for value in values if value != "–"}) > 1:
                rows.append((code(f"{section}.{key}"), *values))
    return table(("type sets", *map(code, made)), *rows)


def lengths() -> str:
    """Return what the presets of `svc pre-config` set, for 60 clips of the usual type and another.

    Types of the fork stand for all that are not light.
    """
    keys = ("eval_interval", "epochs", "patience", "average", "keep_ckpts")
    kinds = {"light": (NATIVE, BUNDLED_ENCODER), "others": ("so-vits-svc-4.0v1", BEST_ENCODER)}
    made = {
        (kind, name): config_to_json(of_length(PRESETS[preset](encoder, {"a": 0}), name, 60))
        for kind, (preset, encoder) in kinds.items()
        for name in LENGTHS
    }
    rows = [
        (code(f"train.{key}"), *(as_json(table["train"][key]) for table in made.values()))
        for key in keys
    ]
    return table(("preset sets", *(f"{code(name)}, {kind}" for kind, name in made)), *rows)


def pitch() -> str:
    """Return the pitch methods."""
    rows = [
        (code(s.name), s.description, f"{s.lowest:g} to {s.highest:g} Hz", s.needs or "nothing")
        for s in PITCH_METHODS.values()
    ]
    return table(("pitch method", "what it is", "finds", "needs"), *rows)


def content() -> str:
    """Return the content encoders."""
    rows = [
        (code(s.name), str(s.channels), s.weights.name, "yes" if s.weights.bundled else "no")
        for s in CONTENT.values()
    ]
    return table(("content encoder", "channels", "weights", "bundled"), *rows)


def weights() -> list[WeightsFile]:
    """Return every file of weights that some part asks for, once."""
    found: Iterable[WeightsFile] = (
        *(spec.weights for spec in CONTENT.values()),
        POSITIONS,
        swift.WEIGHTS,
        *crepe.WEIGHTS.values(),
        fcpe.WEIGHTS,
        rmvpe.WEIGHTS,
        SPEAKER,
    )
    return list(dict.fromkeys(found))


def bundled() -> str:
    """Return the weights that ship with the package."""
    rows = [
        (code(w.bundled), w.name, w.licence, code(w.bundled_sha256 or "not yet known"))
        for w in weights()
        if w.bundled
    ]
    return table(("in sovits/assets", "weights", "licence", "SHA-256"), *rows)


def fetched() -> str:
    """Return the weights that are fetched, or put in place by hand."""
    rows = [
        (
            code(w.filename),
            w.name,
            f"{w.source}, or {w.instead}" if w.instead else w.source,
            f"{w.bytes / 1e6:.0f} MB" if w.bytes else "not stated",
            w.licence,
            code(w.sha256) if w.sha256 else "not stated, so never fetched",
        )
        for w in weights()
        if not w.bundled
    ]
    return table(("file", "weights", "where from", "size", "licence", "SHA-256"), *rows)


def voice_config() -> str:
    """Return the settings in the header of a native voice."""
    rows = [*_fields("audio.", AudioConfig), *_fields("synthesizer.", SynthesizerConfig)]
    docs = field_docs(VoiceConfig)
    rows.append((code("content"), "string", as_json(VoiceConfig.content), docs["content"]))
    rows.append((code("speakers"), "object of integers", as_json({}), docs["speakers"]))
    return table(("key in config", "type", "if left out", "meaning"), *rows)


def native_config() -> str:
    """Return the settings of the light network in the header of a voice."""
    head = ("key in config of sovits-native", "type", "if left out", "meaning")
    return table(head, *_fields("synthesizer.", NativeConfig))


def _fields(prefix: str, kind: type) -> list[tuple[str, ...]]:
    """Return the settings of one dataclass."""
    docs, hints = field_docs(kind), get_type_hints(kind)
    return [
        (
            code(prefix + field.name),
            _type(hints[field.name]),
            as_json(field.default),
            docs[field.name],
        )
        for field in fields(kind)
    ]


def _type(want: Any) -> str:
    """Return a type as JSON has it."""
    names = {int: "integer", float: "number", bool: "true or false", str: "string"}
    if want in names:
        return names[want]
    if get_origin(want) is Literal:
        return " or ".join(f'`"{word}"`' for word in get_args(want))
    if get_origin(want) is tuple:
        inside = _type(get_args(want)[0])
        return f"list of {inside}s" if " " not in inside else f"list of {inside}"
    inner = next(kind for kind in get_args(want) if kind is not NoneType)
    return f"{_type(inner)} or null"


TABLES: dict[str, list[Callable[[], str]]] = {
    "guide.md": [
        *(partial(flags, name) for name in COMMANDS if options(name)),
        lengths,
        presets,
        pitch,
        content,
        bundled,
        fetched,
    ],
    "voice-format.md": [voice_config, native_config],
}
"""What is generated in which document."""


def updated(text: str, made: str) -> str:
    """Return a document with the table that begins as `made` does replaced by it.

    Raises:
        ValueError: The document has no such table.
    """
    lines, rows = text.split("\n"), made.split("\n")
    begin = lines.index(rows[0])
    end = begin
    while end < len(lines) and lines[end].startswith("|"):
        end += 1
    return "\n".join([*lines[:begin], *rows, *lines[end:]])


def main() -> None:
    """Print the tables, or put them where they belong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put them into the documents")
    write = parser.parse_args().write
    for name, makers in TABLES.items():
        for make in makers:
            if write:
                path = DOCS / name
                path.write_text(updated(path.read_text("utf-8"), make()), "utf-8")
            else:
                print(make(), end="\n\n")


if __name__ == "__main__":
    main()
