"""New voices made of others: of the speakers of one, or of the weights of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from sovits.config import VoiceConfig, to_dict
from sovits.errors import VoiceError
from sovits.models.build import make_synthesizer
from sovits.voice import Voice

TABLE = "emb_g.weight"
FAR = 0.5
"""Difference of weights of voices that were hardly trained from one beginning; 1 is chance."""


def mix_speakers(voice: Voice, shares: Mapping[str, float], name: str) -> Voice:
    """Return a voice of one new speaker, who lies between some of another voice.

    Args:
        voice: Who has the speakers.
        shares: How much of each, adding up to 1.
        name: What the new one is called.

    Raises:
        VoiceError: There is no such speaker.
    """
    table = voice.synthesizer.state_dict()[TABLE]
    vector = sum(
        (share * table[voice.row(who)] for who, share in shares.items()), table.new_zeros(())
    )
    assert isinstance(vector, Tensor)
    state = voice.synthesizer.state_dict() | {TABLE: vector[None]}
    return _voice(voice, state, {name: 0}, {who: round(s, 6) for who, s in shares.items()}, [voice])


def mix_voices(voices: Sequence[Voice], shares: Sequence[float], name: str | None = None) -> Voice:
    """Return a voice whose weights are the mean of others'.

    That makes a voice if all were trained from the same beginning, such as the same base. Their
    speakers are averaged too: those of the same name, or the only one of each.

    Args:
        voices: Of the same architecture, content encoder and rate.
        shares: How much of each, adding up to 1.
        name: What its speaker is called, if each has only one; their names if not given.

    Raises:
        VoiceError: They have different settings, or different speakers.
    """
    first = voices[0]
    for other in voices[1:]:
        if difference := _first_difference(first.config, other.config):
            raise VoiceError.other_settings(_file(first), _file(other), *difference)
    names = [[*voice.speakers] or ["0"] for voice in voices]
    if all(len(own) == 1 for own in names):
        speakers = [name or "+".join(dict.fromkeys(own[0] for own in names))]
        who = [[own[0]] for own in names]
    elif all(set(own) == set(names[0]) for own in names):
        speakers = names[0]
        who = [speakers] * len(voices)
    else:
        odd = next(i for i, own in enumerate(names) if set(own) != set(names[0]))
        raise VoiceError.other_speakers(_file(first), _file(voices[odd]), names[0], names[odd])
    state: dict[str, Tensor] = {}
    for voice, share, own in zip(voices, shares, who, strict=True):
        weights = dict(voice.synthesizer.state_dict())
        weights[TABLE] = weights[TABLE][[voice.row(speaker) for speaker in own]]
        for key, weight in weights.items():
            part = weight.double() * share
            state[key] = state[key] + part if key in state else part
    state = {key: weight.float() for key, weight in state.items()}
    rows = {speaker: row for row, speaker in enumerate(speakers)}
    told = {_file(v): round(s, 6) for v, s in zip(voices, shares, strict=True)}
    return _voice(first, state, rows, told, voices)


def difference(one: Voice, other: Voice) -> float:
    """Return how far apart the matrices of two networks are: 0 if equal, about 1 if unrelated."""
    a, b = one.synthesizer.state_dict(), other.synthesizer.state_dict()
    apart = together = 0.0
    for name, weight in a.items():
        if weight.dim() > 1 and name != TABLE:
            apart += float((weight - b[name]).double().square().sum())
            together += float((weight.double().square() + b[name].double().square()).sum())
    return apart / max(together, 1e-30)


def _voice(
    like: Voice,
    state: Mapping[str, Tensor],
    speakers: dict[str, int],
    shares: Mapping[str, float],
    voices: Sequence[Voice],
) -> Voice:
    """Return a voice of these weights and speakers, with a card that tells what it is made of."""
    network = replace(like.config.synthesizer, n_speakers=len(speakers))
    config = replace(like.config, synthesizer=network, speakers=speakers)
    made = make_synthesizer(network, config.audio, posterior=False).fold()
    made.load_state_dict(dict(state))
    card: dict[str, Any] = {"mixed_of": dict(shares)}
    licences = {str(v.card["licence"]) for v in voices if v.card.get("licence")}
    if licences:
        card["licence"] = " AND ".join(sorted(licences))
    return Voice(config, made, card)


def _first_difference(one: VoiceConfig, other: VoiceConfig) -> tuple[str, Any, Any] | None:
    """Return the first setting in which networks differ, and its two values."""
    a, b = to_dict(one), to_dict(other)
    for table in (a, b):
        del table["speakers"], table["synthesizer"]["n_speakers"]
    flat = [_flat(table) for table in (a, b)]
    for key in dict.fromkeys([*flat[0], *flat[1]]):
        values = [table.get(key) for table in flat]
        if values[0] != values[1] and key not in _OF_TRAINING:
            return key, values[0], values[1]
    return None


_OF_TRAINING = {"audio.n_mels", "audio.mel_min", "audio.mel_max", "synthesizer.dropout"}
"""Settings that only training hears of."""


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings with dots between names."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _file(voice: Voice) -> str:
    return "a voice" if voice.path is None else str(voice.path)
