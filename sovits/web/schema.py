"""What requests and answers look like; options of a conversion are drawn from `ConvertOptions`."""

from __future__ import annotations

import json
from dataclasses import fields
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field

from sovits.choices import F0_METHODS, FILES, field_docs
from sovits.config import ConvertOptions
from sovits.web.store import State

_KINDS = {bool: "boolean", int: "integer", float: "number", str: "string"}
HEART: dict[str, Any] = {
    "id": "heart",
    "name": "heart",
    "kind": "bundled",
    "architecture": "sovits-native",
    "speakers": ["heart"],
    "sample_rate": 44100,
    "median_f0_hz": 211.0,
    "f0_range_hz": [160.0, 300.0],
    "look_ahead": 2,
    "licence": "CC-BY-SA-4.0",
    "content": "sovits-content",
    "problem": None,
}
JOB: dict[str, Any] = {
    "id": "0123456789abcdef0123456789abcdef",
    "state": "running",
    "progress": 0.4,
    "name": "song.wav",
    "voice": "heart",
    "options": {"semitones": 12.0},
    "created": 1790000000.0,
    "begun": 1790000001.5,
    "ended": None,
    "error": None,
}


class Problem(BaseModel):
    """Why a request was refused."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"error": "There is no such voice. It may be: heart, kumo."}}
    )
    error: str = Field(description="One line: what was found, what was expected, what to do.")


class Health(BaseModel):
    """That the server is there."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "ok", "version": "0.1.0"}})
    status: Literal["ok"]
    version: str = Field(description="Version of sovits.")


class VoiceEntry(BaseModel):
    """A voice at hand; what is not known of it is null."""

    model_config = ConfigDict(json_schema_extra={"example": HEART})
    id: str = Field(description="What requests name it by.")
    name: str = Field(description="Its name, which others may have too.")
    kind: str = Field(description="bundled, trained or hub.")
    architecture: str | None
    speakers: list[str]
    sample_rate: int | None = Field(description="Of the sound that it makes (Hz).")
    median_f0_hz: float | None = Field(description="Median pitch of its target (Hz).")
    f0_range_hz: list[float] | None = Field(description="Both ends of its target's pitch (Hz).")
    look_ahead: int | None = Field(description="Frames of the future that it needs to stream.")
    licence: str | None
    content: str | None = Field(description="Its content encoder.")
    problem: str | None = Field(description="Why it cannot be used, in one line.")


class VoiceCard(VoiceEntry):
    """A voice, with what its maker tells."""

    model_config = ConfigDict(
        json_schema_extra={"example": HEART | {"card": {"licence": "CC-BY-SA-4.0"}}}
    )
    card: dict[str, Any] = Field(description="Data, licence and measurements, as the file has it.")


class JobEntry(BaseModel):
    """A job, and how far it is."""

    model_config = ConfigDict(json_schema_extra={"example": JOB})
    id: str = Field(description="Whoever knows it may see, cancel and delete the job.")
    state: State
    progress: float = Field(description="Share that is done, 0 to 1.")
    name: str = Field(description="What the sound was called.")
    voice: str
    options: dict[str, Any] = Field(description="Options that were given.")
    created: float = Field(description="When it was asked for (s since 1970).")
    begun: float | None = Field(description="When it was last begun (s since 1970).")
    ended: float | None = Field(description="When it ended (s since 1970).")
    error: str | None = Field(description="Why it failed, in one line.")


def option_kinds() -> dict[str, Any]:
    """Return the type of each option that a request may give: all that name no file."""
    hints = get_type_hints(ConvertOptions)
    return {f.name: hints[f.name] for f in fields(ConvertOptions) if f.name not in FILES}


def read_option(name: str, text: str) -> Any:
    """Return the value that a field of a form stands for, for `sovits.config.build` to check."""
    if str in _plain_kinds(option_kinds()[name]):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def convert_form() -> dict[str, Any]:
    """Return the form that converts, as OpenAPI describes it."""
    docs, defaults = field_docs(ConvertOptions), {f.name: f.default for f in fields(ConvertOptions)}
    properties: dict[str, Any] = {
        "audio": {
            "type": "string",
            "format": "binary",
            "description": "Sound, or video with sound, of any kind.",
        },
        "voice": {"type": "string", "description": "Identifier of a voice.", "example": "heart"},
    }
    for name, want in option_kinds().items():
        properties[name] = _option(name, want) | {"description": docs[name]}
        if defaults[name] is not None:
            properties[name]["default"] = defaults[name]
    return {
        "type": "object",
        "required": ["audio", "voice"],
        "properties": properties,
        "additionalProperties": False,
        "example": {"audio": "song.wav", "voice": "heart", "semitones": 12},
    }


def _option(name: str, want: Any) -> dict[str, Any]:
    """Return the type of an option as OpenAPI has it."""
    if name == "f0_method":
        return {"type": "string", "enum": list(F0_METHODS)}
    if get_origin(want) is Literal:
        return {"type": "string", "enum": list(get_args(want))}
    return {"type": _KINDS[_plain_kinds(want)[0]]}


def _plain_kinds(want: Any) -> tuple[type, ...]:
    """Return the plain types that an option may have, besides None."""
    if get_origin(want) is Literal:
        return (str,)
    kinds = get_args(want) if get_origin(want) in (Union, UnionType) else (want,)
    return tuple(kind for kind in kinds if kind is not type(None))
