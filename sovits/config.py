"""Every setting, as frozen dataclasses with strict JSON.

Names here are the project's own. The keys that people type into `configs/44k/config.json`
are translated in `sovits.legacy.settings`, and nowhere else.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from sovits.errors import ConfigError

T = TypeVar("T")

DecoderKind = Literal["hifi-gan", "istft", "ms-istft", "mb-istft", "harmonic"]
StereoMode = Literal["mono", "side", "both"]
Precision = Literal["auto", "fp32", "bf16"]
Sampler = Literal["auto", "euler", "ddim", "dpm++", "ddpm"]


@dataclass(frozen=True)
class AudioConfig:
    """How sound is cut into samples and frames; one voice uses one of these throughout."""

    sample_rate: int = 44_100
    """Samples per second (Hz)."""
    hop_length: int = 512
    """Samples from the start of one frame to the start of the next."""
    n_fft: int = 2048
    """Samples in one analysis window."""
    n_mels: int = 80
    """Bands of the mel spectrogram that the training loss compares."""
    mel_min: float = 0.0
    """Lower edge of the lowest mel band (Hz)."""
    mel_max: float | None = None
    """Upper edge of the highest mel band (Hz); half the sample rate if not given."""

    def __post_init__(self) -> None:
        for name in ("sample_rate", "hop_length", "n_fft", "n_mels"):
            if getattr(self, name) < 1:
                raise ConfigError.wrong_value(f"audio.{name}", getattr(self, name), "at least 1")
        if self.n_fft < self.hop_length:
            raise ConfigError.frames_do_not_cover(self.n_fft, self.hop_length)

    @property
    def frame_rate(self) -> float:
        """Frames per second (Hz)."""
        return self.sample_rate / self.hop_length

    @property
    def n_bins(self) -> int:
        """Bins of the linear spectrogram."""
        return self.n_fft // 2 + 1


@dataclass(frozen=True)
class SynthesizerConfig:
    """Shape of the VITS synthesizer; the defaults are so-vits-svc 4.0 with 768 content channels."""

    content_channels: int = 768
    """Channels of the content encoder's output."""
    inter_channels: int = 192
    """Channels of the latent."""
    hidden_channels: int = 192
    """Width of the prior, the posterior, the flow and the F0 decoder."""
    filter_channels: int = 768
    """Width inside the feed-forward layers."""
    n_heads: int = 2
    """Attention heads."""
    n_layers: int = 6
    """Transformer layers of the prior encoder and of the F0 decoder."""
    kernel_size: int = 3
    """Kernel of the feed-forward layers (frames)."""
    dropout: float = 0.1
    """Share of activations dropped while training."""
    speaker_channels: int = 256
    """Channels of the speaker embedding."""
    n_speakers: int = 200
    """Rows of the speaker table."""
    flow_layers: int = 4
    """WaveNet layers inside each of the four couplings."""
    posterior_layers: int = 16
    """WaveNet layers of the posterior encoder."""
    decoder: DecoderKind = "hifi-gan"
    """Which decoder turns the latent into sound."""
    resblock: Literal["1", "2"] = "1"
    """Residual block: 1 has pairs of convolutions, 2 single ones."""
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    """Kernel of each parallel residual block."""
    resblock_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    """Dilations inside each parallel residual block."""
    upsample_rates: tuple[int, ...] = (8, 8, 2, 2, 2)
    """Factor of each upsampling stage."""
    upsample_kernel_sizes: tuple[int, ...] = (16, 16, 4, 4, 4)
    """Kernel of each upsampling stage."""
    upsample_initial_channels: int = 512
    """Width of the decoder before its first stage; each stage halves it."""
    istft_n_fft: int = 16
    """Window of the decoder's inverse STFT (samples)."""
    istft_hop_length: int = 4
    """Hop of the decoder's inverse STFT (samples)."""
    subbands: int = 4
    """Sub-bands of the multi-stream and multi-band decoders."""
    volume: bool = False
    """Whether the loudness of each frame is an input (4.1's vol_embedding)."""
    predicts_f0: bool = True
    """Whether there is an F0 decoder (auto pitch)."""

    moves_formants: ClassVar[bool] = False

    def samples_per_frame(self) -> int | None:
        """Return how many samples the decoder makes of one frame; None if it makes any number."""
        if self.decoder == "harmonic":
            return None
        total = 1
        for rate in self.upsample_rates:
            total *= rate
        if self.decoder != "hifi-gan":
            total *= self.istft_hop_length
        if self.decoder in ("ms-istft", "mb-istft"):
            total *= self.subbands
        return total


@dataclass(frozen=True)
class NativeConfig:
    """Shape of the light synthesizer of this project."""

    architecture: Literal["sovits-native"] = "sovits-native"
    """Which network this describes; files tell by it."""
    content_channels: int = 192
    """Channels of the content encoder's output."""
    speaker_channels: int = 128
    """Channels of the speaker embedding."""
    n_speakers: int = 1
    """Rows of the speaker table."""
    width: int = 320
    """Channels of the network."""
    prior_blocks: int = 3
    """Blocks before the latent; these look ahead."""
    decoder_blocks: int = 5
    """Blocks after it."""
    kernel_size: int = 7
    """Frames that one block sees."""
    expansion: int = 3
    """Factor on the width inside a block."""
    look_ahead: int = 4
    """Frames of the future that the sound of a frame depends on; 4 is the least."""
    harmonic_bands: int = 128
    """Points of the envelope that shapes the harmonics."""
    noise_bands: int = 64
    """Points of the envelope that shapes the noise."""
    harmonics: bool = True
    """Whether there are harmonics, or noise alone."""
    latent: int = 0
    """Channels of a variational latent; 0 is none."""
    flow_layers: int = 0
    """Couplings between the latent and its prior."""

    volume: ClassVar[bool] = True
    predicts_f0: ClassVar[bool] = False
    moves_formants: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name, least in (
            ("content_channels", 1),
            ("speaker_channels", 1),
            ("n_speakers", 1),
            ("width", 1),
            ("prior_blocks", 1),
            ("decoder_blocks", 1),
            ("kernel_size", 2),
            ("expansion", 1),
            ("look_ahead", 4),
            ("harmonic_bands", 2),
            ("noise_bands", 2),
            ("latent", 0),
            ("flow_layers", 0),
        ):
            if getattr(self, name) < least:
                raise ConfigError.wrong_value(name, getattr(self, name), f"at least {least}")
        if self.look_ahead - 2 > self.prior_blocks * (self.kernel_size - 1):
            most = 2 + self.prior_blocks * (self.kernel_size - 1)
            raise ConfigError.wrong_value("look_ahead", self.look_ahead, f"at most {most}")

    def samples_per_frame(self) -> None:
        """Return None: it makes any number of samples of a frame."""


@dataclass(frozen=True)
class VocoderConfig:
    """Shape of the vocoder of this project, which has the head of the light synthesizer."""

    architecture: Literal["sovits-vocoder"] = "sovits-vocoder"
    """Which network this describes; files tell by it."""
    width: int = 320
    """Channels of the network."""
    blocks: int = 8
    """Blocks of the network; the first ones look ahead."""
    kernel_size: int = 7
    """Frames that one block sees."""
    expansion: int = 3
    """Factor on the width inside a block."""
    look_ahead: int = 4
    """Frames of the future that the sound of a frame depends on; 4 is the least."""
    harmonic_bands: int = 128
    """Points of the envelope that shapes the harmonics."""
    noise_bands: int = 64
    """Points of the envelope that shapes the noise."""

    harmonics: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name, least in (
            ("width", 1),
            ("blocks", 1),
            ("kernel_size", 2),
            ("expansion", 1),
            ("look_ahead", 4),
            ("harmonic_bands", 2),
            ("noise_bands", 2),
        ):
            if getattr(self, name) < least:
                raise ConfigError.wrong_value(name, getattr(self, name), f"at least {least}")
        most = 2 + self.blocks * (self.kernel_size - 1)
        if self.look_ahead > most:
            raise ConfigError.wrong_value("look_ahead", self.look_ahead, f"at most {most}")


@dataclass(frozen=True)
class RefinerConfig:
    """Shape of the refiner of this project."""

    architecture: Literal["sovits-refiner"] = "sovits-refiner"
    """Which network this describes; files tell by it."""
    content_channels: int = 256
    """Channels of the content encoder's output."""
    n_speakers: int = 1
    """Rows of the speaker table."""
    speaker_channels: int = 128
    """Channels of the speaker embedding."""
    width: int = 320
    """Channels of the network."""
    blocks: int = 8
    """Blocks of the network; each one looks as far ahead as back."""
    kernel_size: int = 7
    """Frames that one block sees; odd."""
    expansion: int = 3
    """Factor on the width inside a block."""
    steps: int = 4
    """Evaluations if nobody says how many."""

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self)):
            value = getattr(self, name)
            if name != "architecture" and value < 1:
                raise ConfigError.wrong_value(name, value, "at least 1")
        if self.kernel_size % 2 == 0:
            raise ConfigError.wrong_value("kernel_size", self.kernel_size, "odd")


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Shape of the discriminators; the defaults are so-vits-svc 4.0."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    """Periods of the period discriminators (samples)."""
    width: float = 1.0
    """Factor on every channel count; below 1 trains faster, and cannot read others' D files."""
    spectral_norm: bool = False
    """Spectral instead of weight normalisation."""
    scale: bool = True
    """Whether one judges the raw wave."""
    spectra: tuple[int, ...] = ()
    """Windows of those that judge spectra (samples)."""


@dataclass(frozen=True)
class TrainConfig:
    """How a voice is trained."""

    log_interval: int = 100
    """Steps between log lines."""
    eval_interval: int = 200
    """Steps between validations; each one also writes a checkpoint."""
    seed: int = 1234
    """Seed of everything random in a training."""
    epochs: int = 10_000
    """Passes over the data after which training ends."""
    learning_rate: float = 1e-4
    """Step size at the start."""
    betas: tuple[float, float] = (0.8, 0.99)
    """Decay of AdamW's moments."""
    eps: float = 1e-9
    """AdamW's guard against division by zero."""
    lr_decay: float = 0.999875
    """Factor on the learning rate after each epoch."""
    batch_size: int = 16
    """Clips per step, of each process; 0, or "auto" in config.json: as many as memory holds."""
    segment_frames: int = 20
    """Frames that the decoder renders of each clip."""
    context_frames: int = 128
    """Frames of each clip that the encoders see; at least segment_frames."""
    mel_weight: float = 45.0
    """Weight of the mel loss."""
    kl_weight: float = 1.0
    """Weight of the divergence between posterior and prior."""
    stft_weight: float = 0.0
    """Weight of a full-band STFT loss at several resolutions; it teaches harmonics sooner."""
    feature_weight: float = 2.0
    """Weight of the feature matching loss."""
    keep_checkpoints: int = 3
    """How many of the newest checkpoints are kept; 0 keeps all."""
    num_workers: int = 0
    """Processes that load data; 0 loads in the training process."""
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    """Arithmetic of the networks; losses, sources and inverse STFTs stay in fp32."""
    name_by_step: bool = False
    """Whether checkpoints are numbered by step instead of epoch."""
    accumulate: int = 1
    """Batches per optimizer step."""
    adversarial_from: int = 0
    """Step from which the discriminators take part."""
    stft_fft_sizes: tuple[int, ...] = (768, 1366, 342)
    """Windows of the sub-band STFT loss (mb-istft only)."""
    stft_hop_lengths: tuple[int, ...] = (60, 120, 20)
    """Hops of the sub-band STFT loss."""
    stft_window_lengths: tuple[int, ...] = (300, 600, 120)
    """Window lengths of the sub-band STFT loss."""
    training_files: str = "filelists/44k/train.txt"
    """List of the clips to train on, one path a line."""
    validation_files: str = "filelists/44k/val.txt"
    """List of the clips to validate on."""
    average: float = 0.0
    """Decay of the average of all weights so far, which is what converts; 0 is no average."""
    moved: float = 0.0
    """Share of clips played at another speed, which moves pitch and formants (native voices)."""
    others: float = 0.0
    """Share of clips whose content is what sovits-content hears as if others spoke."""
    patience: int = 20
    """Evaluations without a gain after which training ends; 0 is never."""
    max_gradient: float = 0.0
    """Largest norm of the gradient of each network, which is shortened to it; 0 is any."""
    balance: float = 1.0
    """How evenly speakers are heard: 1 all as often, 0 as often as they have clips."""

    def __post_init__(self) -> None:
        for name in ("log_interval", "eval_interval", "epochs", "segment_frames"):
            if getattr(self, name) < 1:
                raise ConfigError.wrong_value(f"train.{name}", getattr(self, name), "at least 1")
        if self.batch_size < 0:
            raise ConfigError.wrong_value("train.batch_size", self.batch_size, "at least 1, or 0")
        if self.patience < 0:
            raise ConfigError.wrong_value("train.patience", self.patience, "at least 0")
        if not 0 <= self.average < 1:
            raise ConfigError.wrong_value("train.average", self.average, "at least 0, and below 1")
        for name in ("moved", "others", "balance"):
            if not 0 <= getattr(self, name) <= 1:
                value = getattr(self, name)
                raise ConfigError.wrong_value(f"train.{name}", value, "between 0 and 1")
        if self.context_frames < self.segment_frames:
            raise ConfigError.segment_exceeds_context(self.segment_frames, self.context_frames)


@dataclass(frozen=True)
class VoiceConfig:
    """What a voice needs to know of itself to convert."""

    audio: AudioConfig = field(default_factory=AudioConfig)
    """Rates and spectra."""
    synthesizer: SynthesizerConfig | NativeConfig = field(default_factory=SynthesizerConfig)
    """Shape of the network."""
    content: str = "contentvec-768l12"
    """Name of the content encoder it was trained with."""
    speakers: dict[str, int] = field(default_factory=dict)
    """Row in the speaker table for each name."""

    def __post_init__(self) -> None:
        audio = self.audio
        if isinstance(self.synthesizer, NativeConfig):
            if audio.n_fft != 4 * audio.hop_length or audio.hop_length % 4:
                raise ConfigError.not_four_hops(audio.n_fft, audio.hop_length)
            return self._check_speakers()
        made, needed = self.synthesizer.samples_per_frame(), self.audio.hop_length
        if made is not None and made != needed:
            raise ConfigError.rates_disagree(self.synthesizer.decoder, made, needed)
        return self._check_speakers()

    def _check_speakers(self) -> None:
        for name, index in self.speakers.items():
            if not 0 <= index < self.synthesizer.n_speakers:
                raise ConfigError.no_such_row(name, index, self.synthesizer.n_speakers)


@dataclass(frozen=True)
class Config:
    """A whole training configuration."""

    voice: VoiceConfig = field(default_factory=VoiceConfig)
    """What is trained."""
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    """What judges it."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How."""

    def __post_init__(self) -> None:
        if self.train.moved and not self.voice.synthesizer.moves_formants:
            raise ConfigError.cannot_move_clips(self.train.moved)


@dataclass(frozen=True)
class ConvertOptions:
    """What a listener may ask of one conversion; the same in Python, shell, live and web use."""

    speaker: str | None = None
    """Whose voice, by name or row, or shares of several: a:0.7,b:0.3; else the voice's first."""
    mix: str | None = None
    """JSON file that says who sings when, in shares, instead of speaker."""
    semitones: float = 0.0
    """How far to move the pitch; 12 is one octave up."""
    auto_transpose: bool = False
    """Move the pitch further, by whole semitones, to where the voice was trained, if need be."""
    f0_method: str = "swift"
    """How pitch is found: swift, crepe, crepe-tiny, fcpe, rmvpe, harvest, dio or pm."""
    formants: float = 0.0
    """How far to move formants, apart from pitch (semitones; native voices); up: a smaller body."""
    auto_f0: bool = False
    """Let the voice choose the melody (for speech; it cannot sing)."""
    noise_scale: float = 0.4
    """Amount of variation in the synthesis; 0 is none, 1 that of training."""
    retrieval: str | None = None
    """Index or k-means file with content of the target voice; the index beside it if not given."""
    retrieval_ratio: float = 0.0
    """How far content moves towards that file's nearest entries, 0 to 1."""
    silence_db: float = -60.0
    """Level below which sound counts as silence (dB below the loudest part)."""
    absolute_silence: bool = False
    """Measure silence_db from full scale instead of from the loudest part."""
    silence_seconds: float = 0.4
    """Shortest pause that counts as silence (s)."""
    max_piece_seconds: float = 20.0
    """Longest piece converted at once (s); longer ones are cut where they are quietest."""
    pad_seconds: float = 0.5
    """Sound around a piece that the networks hear but that is cut off again (s)."""
    stereo: StereoMode = "mono"
    """Stereo sources: mono in the middle; the source's side kept; or both channels converted."""
    output_rate: int | None = None
    """Sample rate of the result (Hz); the source's if not given."""
    seed: int = 0
    """Seed of the noise in the synthesis; the same seed gives the same sound."""
    precision: Precision = "fp32"
    """Arithmetic of the synthesizer, and of sovits-content; auto: bf16 where that is faster."""
    refine: float = 0.0
    """How much noise a refiner adds to the sound and takes out again, 0 to 1; 0 is no refiner."""
    refiner: str | None = None
    """Refiner: ours, or model_*.pt of so-vits-svc 4.1; the one beside the voice if not given."""
    refiner_config: str | None = None
    """Settings of a model_*.pt; diffusion.yaml or config.yaml beside it if not given."""
    refine_steps: int | None = None
    """Times that the refiner's network is asked; its own number if not given."""
    sampler: Sampler = "auto"
    """How noise is taken out: ddim, dpm++ or ddpm with refiners of so-vits-svc, else euler."""
    only_refiner: bool = False
    """Leave the synthesizer out: the refiner draws all from noise, if it has learnt to."""
    vocoder: str | None = None
    """Vocoder that sings what a refiner draws; the bundled one if not given."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("noise_scale", 0.0, 10.0),
            ("retrieval_ratio", 0.0, 1.0),
            ("semitones", -60.0, 60.0),
            ("formants", -12.0, 12.0),
            ("max_piece_seconds", 1.0, 600.0),
            ("pad_seconds", 0.0, 10.0),
            ("silence_seconds", 0.05, 60.0),
            ("silence_db", -200.0, 0.0),
            ("refine", 0.0, 1.0),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError.wrong_value(name, value, f"between {low:g} and {high:g}")
        for name, kind in (("stereo", StereoMode), ("precision", Precision), ("sampler", Sampler)):
            typed(kind, getattr(self, name), name)
        if self.refine_steps is not None and not 1 <= self.refine_steps <= 1000:
            raise ConfigError.wrong_value("refine_steps", self.refine_steps, "between 1 and 1000")
        if self.output_rate is not None and not 1_000 <= self.output_rate <= 768_000:
            raise ConfigError.wrong_value("output_rate", self.output_rate, "a rate in Hz")


@dataclass(frozen=True)
class SeparateOptions:
    """What may be asked of a separation."""

    model: str = "spleeter-2stems"
    """What separates: spleeter-2stems, or a model of audio-separator by name."""
    stems: str = "vocals,accompaniment"
    """What to write: vocals, accompaniment, or both with a comma."""
    denoise: bool = False
    """Take noise out of the vocals."""
    dereverb: bool = False
    """Take late reverberation out of the vocals."""

    def __post_init__(self) -> None:
        if not self.names or set(self.names) - {"vocals", "accompaniment"}:
            expected = "vocals, accompaniment, or vocals,accompaniment"
            raise ConfigError.wrong_value("stems", self.stems, expected)

    @property
    def names(self) -> tuple[str, ...]:
        """Stems to write, each once."""
        found = (name.strip() for name in self.stems.split(","))
        return tuple(dict.fromkeys(name for name in found if name))


@dataclass(frozen=True)
class CoverOptions:
    """What may be asked of a cover, besides how the voice is converted."""

    separator: str = "spleeter-2stems"
    """What takes the song apart: as --model of svc separate."""
    backing: Literal["keep", "convert"] = "keep"
    """Harmonies, which are vocals away from the middle: keep them, or convert them too."""
    backing_semitones: float | None = None
    """How far to move converted harmonies; as far as the lead if not given."""
    reverb: bool = True
    """Give the voice the reverberation that the song's vocals have and it lacks."""
    voice_db: float = 0.0
    """How much louder the voice is to be than the song's vocals (dB)."""

    def __post_init__(self) -> None:
        typed(Literal["keep", "convert"], self.backing, "backing")
        if not -40 <= self.voice_db <= 20:
            raise ConfigError.wrong_value("voice_db", self.voice_db, "between -40 and 20")
        if self.backing_semitones is not None and not -60 <= self.backing_semitones <= 60:
            value = self.backing_semitones
            raise ConfigError.wrong_value("backing_semitones", value, "between -60 and 60")


def to_dict(config: Any) -> dict[str, Any]:
    """Return a dataclass as plain JSON types."""
    return asdict(config)


def build(kind: type[T], table: dict[str, Any], where: str = "") -> T:
    """Make `kind` from JSON; every key must be a setting, and every value of its type.

    Raises:
        ConfigError: A key is unknown, or a value has another type than its setting.
    """
    hints = get_type_hints(kind)
    types = {name: want for name, want in hints.items() if get_origin(want) is not ClassVar}
    for name in table:
        if name not in types:
            raise ConfigError.unknown_key(where + name, types)
    return kind(**{name: typed(types[name], table[name], where + name) for name in table})


def _meant(kinds: tuple[Any, ...], value: Any) -> Any:
    """Return which kind of an optional or of several dataclasses `value` is.

    Dataclasses are told apart by their `architecture`; files from before there were several
    have none, and are of the first.
    """
    kinds = tuple(kind for kind in kinds if kind is not NoneType)
    named = value.get("architecture") if isinstance(value, dict) else None
    return next((k for k in kinds if getattr(k, "architecture", None) == named), kinds[0])


def typed(want: Any, value: Any, key: str) -> Any:
    """Return `value` as `want`, or say that it is not one."""
    if is_dataclass(want) and isinstance(want, type):
        if isinstance(value, dict):
            return build(want, value, f"{key}.")
    elif (origin := get_origin(want)) is Literal:
        if value in get_args(want) and type(value) is not bool:
            return value
        raise ConfigError.wrong_value(key, value, f"one of {', '.join(map(str, get_args(want)))}")
    elif origin in (Union, UnionType):
        if value is None and NoneType in get_args(want):
            return None
        return typed(_meant(get_args(want), value), value, key)
    elif origin is tuple:
        if isinstance(value, list | tuple):
            kinds = get_args(want)
            if kinds[-1] is not Ellipsis and len(value) != len(kinds):
                raise ConfigError.wrong_value(key, value, f"a list of {len(kinds)}")
            return tuple(
                typed(kinds[0] if kinds[-1] is Ellipsis else kinds[i], item, f"{key}[{i}]")
                for i, item in enumerate(value)
            )
    elif origin is dict:
        if isinstance(value, dict):
            kind = get_args(want)[1]
            return {str(name): typed(kind, item, f"{key}.{name}") for name, item in value.items()}
    elif want is float and type(value) is int:
        return float(value)
    elif type(value) is want:
        return value
    raise ConfigError.wrong_value(key, value, f"of type {getattr(want, '__name__', want)}")
