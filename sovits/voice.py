"""A trained voice: settings, weights, speakers and card, in one file."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from sovits.config import ConvertOptions, VoiceConfig, build, to_dict
from sovits.convert import convert
from sovits.errors import ConfigError, OutputError, SovitsError, VoiceError
from sovits.features.content import CONTENT, ContentEncoder, load_content_encoder
from sovits.header import FORMAT, KEY, parse_settings
from sovits.hub import HUB, fetch_voice
from sovits.index_file import BESIDE, open_index
from sovits.legacy.checkpoint import State, described_by, is_folded, read_state
from sovits.legacy.limits import check_ranges, check_shape, parameters
from sovits.legacy.settings import read_config
from sovits.legacy.unpickle import reason
from sovits.library import chosen, pitch_range, resolve, trained_pitches
from sovits.mixing import mix_of
from sovits.models.build import AnySynthesizer, make_synthesizer
from sovits.models.unit2mel import Unit2Mel
from sovits.refine import MelVocoder, Refining, fit_together
from sovits.refiners import AnyRefiner, load_refiner, load_vocoder, refiner_beside, vocoder_of
from sovits.retrieval import Index
from sovits.types import Wave

SLACK = 4  # how far the number of a network's parameters may be misjudged
POSTERIOR = ("enc_q.", "latent.posterior.")
"""How names of tensors begin that only training needs."""
MOST_SMALL = 1e6  # parameters of a network that may be built whatever the file holds


@dataclass
class Voice:
    """A trained voice, ready to convert."""

    config: VoiceConfig
    """What it knows of itself."""
    synthesizer: AnySynthesizer
    """The network, folded."""
    card: dict[str, Any]
    """Data, licence and measurements, as its maker wrote them."""
    path: Path | None = None
    """The file it was read from."""
    remarks: list[str] = field(default_factory=list)
    """What was settled while reading it."""
    _encoder: ContentEncoder | None = None
    _indices: dict[tuple[object, ...], Index] = field(default_factory=dict)
    _refiner: tuple[object, AnyRefiner] | None = None
    _sings: tuple[object, MelVocoder] | None = None

    @property
    def speakers(self) -> dict[str, int]:
        """Row in the speaker table for each name."""
        return self.config.speakers

    @property
    def sample_rate(self) -> int:
        """Rate of the sound that the network makes (Hz)."""
        return self.config.audio.sample_rate

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.synthesizer.emb_g.weight.device

    def convert(self, wave: Wave, sample_rate: int, options: ConvertOptions | None = None) -> Wave:
        """Return `wave` in this voice; see `sovits.convert.convert`."""
        return convert(self, wave, sample_rate, options)

    def row(self, speaker: str | None) -> int:
        """Return the row of a speaker, given by name or row; the first if None.

        Raises:
            VoiceError: There is no such speaker.
        """
        if speaker is None:
            return min(self.speakers.values(), default=0)
        if speaker in self.speakers:
            return self.speakers[speaker]
        rows = self.speakers.values() or range(self.config.synthesizer.n_speakers)
        by_number = {str(row): row for row in rows}
        if speaker in by_number:
            return by_number[speaker]
        raise VoiceError.unknown_speaker(speaker, self.speakers or by_number)

    def f0_range(self, speaker: str | None) -> tuple[float, float] | None:
        """Return both ends of the pitches a speaker was trained on (Hz); None if nobody tells.

        5 % of them are below the first, and 5 % above the second.

        Raises:
            VoiceError: There is no such speaker.
        """
        row = self.row(speaker)
        told = self.card.get("speakers")
        for name, own in told.items() if isinstance(told, dict) else ():
            if self.speakers.get(name) == row and isinstance(own, dict):
                return pitch_range(own)
        return pitch_range(self.card) if len(self.speakers) < 2 else None

    def content_encoder(self) -> ContentEncoder:
        """Return the encoder it was trained with; loaded when first asked for."""
        if self._encoder is None:
            self._encoder = load_content_encoder(self.config.content, device=self.device)
        return self._encoder

    def index_path(self) -> Path:
        """Return the index beside this voice: NAME.index.safetensors or index.safetensors.

        Raises:
            VoiceError: There is none.
        """
        path = self.path or Path(BESIDE)
        beside = [path.with_name(f"{path.stem}.{BESIDE}"), path.with_name(BESIDE)]
        found = [file for file in beside if self.path is not None and file.is_file()]
        if not found:
            raise VoiceError.no_index(beside)
        return found[0]

    def index(self, path: Path | None, speaker: str | None) -> Index:
        """Return what a retrieval file holds of a speaker; those of the last file are kept at hand.

        Args:
            path: The file; the one beside this voice if not given.
            speaker: By name or row; the first if not given.

        Raises:
            VoiceError: The file cannot be read, was made for another voice, or holds nothing of
                this speaker.
        """
        path = path or self.index_path()
        try:
            status = path.stat()
        except OSError as error:
            raise VoiceError.missing(path) from error
        file = (path, status.st_mtime_ns, status.st_size, str(self.device))
        if any(key[:-1] != file for key in self._indices):
            self._indices.clear()
        if (wanted := (*file, speaker)) not in self._indices:
            self._indices[wanted] = self._read_index(path, speaker).to(self.device)
        return self._indices[wanted]

    def refiner(self, options: ConvertOptions) -> AnyRefiner:
        """Return the refiner that is asked for, or else the one beside this voice.

        Raises:
            RefinerError: There is none, or it contradicts its settings.
        """
        return self._network(self._refiner_path(options), options.refiner_config)

    def refining(self, options: ConvertOptions) -> Refining:
        """Return the refiner and the vocoder that are asked for, if they go with this voice.

        Raises:
            RefinerError: One is not there, or was made for something else.
        """
        refiner, path = self.refiner(options), self._refiner_path(options)
        vocoder = vocoder_of(refiner, path) if options.vocoder is None else Path(options.vocoder)
        mix = mix_of(options, self.row)
        sings = self._vocoder(vocoder)
        if options.only_refiner and isinstance(refiner, Unit2Mel):
            refiner.check_from_noise()
        return fit_together(refiner, sings, self.config, mix, self.device)

    def _refiner_path(self, options: ConvertOptions) -> Path:
        return refiner_beside(self.path) if options.refiner is None else Path(options.refiner)

    def _network(self, path: Path, config: str | None) -> AnyRefiner:
        """Return a refiner; the last one is kept at hand."""
        wanted = (path, _age(path), config, self.device)
        if self._refiner is None or self._refiner[0] != wanted:
            self._refiner = (wanted, load_refiner(path, config, device=self.device))
        return self._refiner[1]

    def _vocoder(self, path: Path | None) -> MelVocoder:
        """Return a vocoder; the last one is kept at hand."""
        wanted = (path, path and _age(path), self.device)
        if self._sings is None or self._sings[0] != wanted:
            self._sings = (wanted, load_vocoder(path, device=self.device))
        return self._sings[1]

    def _read_index(self, path: Path, speaker: str | None) -> Index:
        row, content = self.row(speaker), self.config.content
        file, spec = open_index(path), CONTENT.get(content)
        if file.content is not None and file.content != content:
            raise VoiceError.index_content(path, file.content, content)
        if spec is not None and file.frame_rate is not None:
            rate = spec.sample_rate / spec.hop_length
            if file.frame_rate != rate:
                raise VoiceError.index_rate(path, file.frame_rate, rate)
        names = [name for name, index in self.speakers.items() if index == row] or [str(row)]
        names.sort(key=lambda name: name != speaker)
        known = [name for name in names if name in file.speakers]
        if not known:
            raise VoiceError.not_in_index(path, names[0], file.speakers)
        index, channels = file.read(known[0]), self.config.synthesizer.content_channels
        if index.vectors.shape[1] != channels:
            raise VoiceError.index_width(path, index.vectors.shape[1], channels)
        return index


def load_voice(
    path: Path | str, config: Path | str | None = None, *, device: str | torch.device = "cpu"
) -> Voice:
    """Read a voice.

    Args:
        path: A native voice (`.safetensors`), `G_*.pth` of the fork or of so-vits-svc 4.0 or
            4.1, a folder of these (the highest number is read), a name that
            `sovits.library.list_voices` has, or `hub:owner/repo` with an optional `/file`.
        config: `config.json` of a `G_*.pth`; the one beside it if not given.
        device: Where its network computes.

    Raises:
        VoiceError: There is no such voice or several, or it is damaged, unsafe, or contradicts
            its settings.
        ConfigError: Its settings are wrong.
    """
    settings = None if config is None else Path(config)
    if isinstance(path, str) and path.startswith(HUB):
        path, settings = fetch_voice(path.removeprefix(HUB), settings)
    path, beside = resolve(path)
    remarks = []
    if path.is_dir():
        path, because = chosen(path)
        remarks = [because] if because else []
    with path.open("rb") as file:
        native = file.read(9)[8:] == b"{"
    voice = _read_native(path) if native else _read_legacy(path, settings or beside)
    voice.remarks = remarks + voice.remarks
    voice.synthesizer.to(device)
    return voice


def _age(path: Path) -> float | None:
    """Return when a file was written; None if it is not there, which its reader says."""
    return path.stat().st_mtime if path.exists() else None


def save_voice(path: Path | str, voice: Voice, *, dtype: torch.dtype = torch.float16) -> None:
    """Write a voice as one file: folded weights, with settings and card in the header.

    Args:
        path: Where to; replaced at once, or not at all.
        voice: What to write.
        dtype: How weights are stored; fp16 halves the file and changes nothing audible.

    Raises:
        OutputError: The file cannot be written.
        VoiceError: A weight is not finite, or too large for `dtype`.
    """
    path = Path(path)
    voice.synthesizer.fold()
    tensors = {
        name: tensor.to("cpu", dtype if tensor.is_floating_point() else None).contiguous()
        for name, tensor in voice.synthesizer.state_dict().items()
    }
    _check_finite(path, tensors)
    header = {"format": FORMAT, "config": to_dict(voice.config), "card": voice.card}
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        # Not save_file, whose files nobody but their owner may read.
        text = json.dumps(header, ensure_ascii=False)
        with part.open("wb") as file:
            file.write(save(tensors, metadata={KEY: text}))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except (OSError, SafetensorError) as error:
        raise OutputError.cannot_write(path, reason(error)) from error
    finally:
        part.unlink(missing_ok=True)


def _read_native(path: Path) -> Voice:
    try:
        with safe_open(path, framework="pt") as file:
            header = parse_settings(path, (file.metadata() or {}).get(KEY))
            config = build(VoiceConfig, header["config"], "voice.")
            check_ranges(config.audio, config.synthesizer)
            check_shape(config.audio, config.synthesizer)
            _check_content(config)
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SovitsError as error:
        if isinstance(error, VoiceError):
            raise
        raise VoiceError.bad_header(path, str(error)) from error
    # Damaged headers fail in the reader, and unknown kinds of numbers in torch, as many classes.
    except Exception as error:
        raise VoiceError.damaged(path, reason(error)) from error
    voice = _assemble(path, config, state, folded=True)
    voice.card = header["card"]
    return voice


def _check_content(config: VoiceConfig) -> None:
    """Refuse a content encoder of another width than the network has."""
    spec, channels = CONTENT.get(config.content), config.synthesizer.content_channels
    if spec is not None and spec.channels != channels:
        raise ConfigError.content_width(config.content, spec.channels, channels)


def _read_legacy(path: Path, settings: Path | None) -> Voice:
    state = read_state(path)
    beside = settings or path.with_name("config.json")
    if not beside.is_file():
        raise VoiceError.no_config(path, beside)
    config, remarks = read_config(beside)
    voice_config, settled = described_by(state, config, path)
    check_ranges(voice_config.audio, voice_config.synthesizer)
    voice = _assemble(path, voice_config, state, folded=is_folded(state))
    voice.remarks = remarks + settled + voice.remarks
    if pitches := trained_pitches(path.parent):
        voice.card = {"speakers": pitches}
        if len(voice_config.speakers) == 1:
            voice.card |= next(iter(pitches.values()))
    return voice


def _assemble(path: Path, config: VoiceConfig, state: State, *, folded: bool) -> Voice:
    """Build the network, once the file is known to be large enough, and fill all of it."""
    held = sum(tensor.numel() for tensor in state.values())
    described = parameters(config.audio, config.synthesizer, posterior=False)
    if described > SLACK * held + MOST_SMALL:
        raise VoiceError.too_small(path, held, described)
    synthesizer = make_synthesizer(config.synthesizer, config.audio, posterior=False)
    if folded:
        synthesizer.fold()
    wanted = {name: tuple(like.shape) for name, like in synthesizer.state_dict().items()}
    if missing := sorted(wanted.keys() - state.keys()):
        raise VoiceError.incomplete(path, missing)
    for name, shape in wanted.items():
        if (found := tuple(state[name].shape)) != shape:
            raise VoiceError.wrong_shape(path, name, found, shape)
        if not state[name].is_floating_point():
            raise VoiceError.damaged(path, f"{name} is of type {state[name].dtype}")
    synthesizer.load_state_dict({name: state[name].float() for name in wanted})
    synthesizer.fold()
    _check_finite(path, synthesizer.state_dict())
    voice = Voice(config, synthesizer, {}, path)
    unused = sorted(n for n in state.keys() - wanted.keys() if not n.startswith(POSTERIOR))
    if unused:
        shown = ", ".join(name[:80] for name in unused[:3]) + (" ..." if len(unused) > 3 else "")
        voice.remarks.append(f"{path.name}: {len(unused)} tensors are not used ({shown}).")
    return voice


def _check_finite(path: Path, tensors: State) -> None:
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise VoiceError.not_finite(path, name)
