"""Train a vocoder on the clips of a voice, from the bundled one on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from sovits.audio.mel import VOCODER_MEL
from sovits.config import (
    Config,
    DiscriminatorConfig,
    NativeConfig,
    VocoderConfig,
    VoiceConfig,
)
from sovits.errors import ConfigError
from sovits.legacy.settings import read_config
from sovits.models.discriminator import Discriminator
from sovits.models.vocoder import VOCODER_FILE, Vocoder, read_vocoder, write_vocoder
from sovits.train.base import BASE_FILE
from sovits.train.dataset import Batches, Recording, list_recordings
from sovits.train.extra import Verdict, fit_extra
from sovits.train.log import OnProgress
from sovits.train.loop import Outcome
from sovits.train.own_mels import mel_of
from sovits.train.step import Objective, Trainee, train_step
from sovits.train.team import make_fabric

FOLDER, FILE = "vocoder", "vocoder.safetensors"
"""Names of the folder of checkpoints and of the best one, beside those of the voice."""
RATE = 2e-4
JUDGED = 8  # batches that an evaluation hears, at most
SETTINGS = {
    "batch_size": 8,
    "segment_frames": 40,
    "context_frames": 88,
    "learning_rate": RATE,
    "average": 0.999,
    "mel_weight": 15.0,
    "stft_weight": 8.0,
    "feature_weight": 2.0,
    "adversarial_from": 100,
    "accumulate": 1,
    "others": 0.0,
    "moved": 0.5,
    "betas": (0.8, 0.99),
}
"""What a vocoder is trained with; all else is the voice's."""
JUDGES = DiscriminatorConfig(width=0.25, scale=False, spectra=(2048, 1024, 512))


class VocoderTraining:
    """A vocoder that learns.

    Args:
        vocoder: Learns.
        config: The voice's settings.
        heard: Clips that it learns from.
        held_out: Clips that it never does.
        out: Where the best of it is kept.
        device: Where it computes; CUDA if there is any, else the CPU, if not given.
        judges: Shape of the discriminators.
    """

    def __init__(
        self,
        vocoder: Vocoder,
        config: Config,
        heard: list[Recording],
        held_out: list[Recording],
        out: Path,
        device: str | None,
        judges: DiscriminatorConfig = JUDGES,
    ) -> None:
        torch.manual_seed(config.train.seed)
        self.fabric, self.out = make_fabric(device), out
        self.train = replace(config.train, **SETTINGS)  # type: ignore[arg-type]
        # The light synthesizer has the same head, and no term of its own in the loss.
        stand_in = NativeConfig(
            content_channels=config.voice.synthesizer.content_channels,
            n_speakers=config.voice.synthesizer.n_speakers,
        )
        voice = VoiceConfig(config.voice.audio, stand_in, config.voice.content)
        whole = Config(voice, judges, self.train)
        self.batches = Batches(heard, whole)
        calm = replace(whole, train=replace(self.train, moved=0.0, seed=self.train.seed + 1))
        self.judged = Batches(held_out, calm)
        self.batches.shows_spectra = self.judged.shows_spectra = True
        self.vocoder = vocoder.train().requires_grad_(True).to(self.fabric.device)
        judge = Discriminator(judges)
        begin_judges(judge)
        judge.to(self.fabric.device)
        self.trainee = Trainee(
            self.vocoder,
            judge,
            torch.optim.AdamW(vocoder.parameters(), RATE, betas=self.train.betas, fused=True),
            torch.optim.AdamW(judge.parameters(), RATE, betas=self.train.betas, fused=True),
            average={},
        )
        self.trainee.begin_average()
        self.objective = Objective(whole, self.fabric.device)
        self.arithmetic = torch.autocast(
            self.fabric.device.type, torch.bfloat16, enabled=config.train.precision != "fp32"
        )

    def step(self) -> dict[str, Tensor]:
        """Take the next step; return the terms of its loss."""
        self.batches.epoch, index = divmod(self.trainee.step, len(self.batches))
        crops = self.fabric.to_device(self.batches[index])
        return train_step(self.fabric, self.trainee, self.objective, crops, self.arithmetic)

    def judge(self) -> Verdict:
        """Copy held-out clips, and compare."""
        found = []
        for index in range(min(len(self.judged), JUDGED)):
            torch.manual_seed(index)
            crops = self.fabric.to_device(self.judged[index])
            copied = self.vocoder(crops.batch, self.train.segment_frames).wave
            far = self.objective.log_mel(copied) - self.objective.log_mel(crops.wave)
            found.append(float(far.abs().mean()))
        distance = sum(found) / len(found)
        return Verdict(
            distance,
            {"log_mel": distance},
            f"log-mel distance of copies of held-out clips {distance:.3f}.",
        )

    def keep(self, verdict: Verdict) -> None:
        """Write the weights that the network has."""
        card = {
            "date": date.today().isoformat(),
            "step": self.trainee.step,
            "held_out": {name: round(value, 4) for name, value in verdict.values.items()},
        }
        write_vocoder(self.out, self.vocoder, card)


def begin_judges(judge: Discriminator, base: Path = BASE_FILE) -> None:
    """Give discriminators the weights of a base's, if they are of one shape."""
    if not base.is_file():
        return
    own, prefix = judge.state_dict(), "discriminator."
    with safe_open(base, framework="pt") as file:
        names = {name for name in file.keys() if name.startswith(prefix)}  # noqa: SIM118
        held = {n.removeprefix(prefix): file.get_tensor(n).float() for n in names}
    if {k: t.shape for k, t in held.items()} == {k: t.shape for k, t in own.items()}:
        judge.load_state_dict(held)


def fit_vocoder(
    config_path: Path,
    model_dir: Path,
    *,
    max_steps: int,
    max_seconds: float | None = None,
    network: VocoderConfig | None = None,
    judges: DiscriminatorConfig = JUDGES,
    device: str | None = None,
    on_log: Callable[[str], None],
    on_progress: OnProgress | None = None,
) -> Outcome:
    """Train a vocoder on the clips that `config_path` names, from where `model_dir` left off.

    It begins with the bundled one where that has the voice's rates, else with what bands tell.

    Args:
        config_path: `config.json`, whose lists name the clips.
        model_dir: Gets `vocoder.safetensors`; checkpoints are in its folder `vocoder`.
        max_steps: Steps in all.
        max_seconds: Stop, and save, after this much time.
        network: Shape of the network, which then begins at random; the bundled one if not given.
        judges: Shape of the discriminators.
        device: Such as `cpu` or `cuda:0`; CUDA if there is any, else the CPU, if not given.
        on_log: Told one line at a time.
        on_progress: Told how far it is, instead of a line now and then.

    Raises:
        ConfigError, DatasetError: Settings or features are wrong.
        TrainingError: See `fit_extra`.
        Interrupted: Someone asked the training to end. It is saved.
    """
    config, _ = read_config(config_path)
    audio = mel_of(config.voice.audio)
    if audio.n_fft != 4 * audio.hop_length or audio.hop_length % 4:
        raise ConfigError.not_four_hops(audio.n_fft, audio.hop_length)
    bundled = network is None and audio == VOCODER_MEL and VOCODER_FILE.is_file()
    torch.manual_seed(config.train.seed)
    vocoder = read_vocoder() if bundled else Vocoder(network or VocoderConfig(), audio)
    lists = (Path(config.train.training_files), Path(config.train.validation_files))
    heard, held_out = (list_recordings(path, config) for path in lists)
    training = VocoderTraining(vocoder, config, heard, held_out, model_dir / FILE, device, judges)
    begins = "the bundled vocoder" if bundled else "what bands tell alone"
    on_log(f"Training a vocoder on {len(heard)} clips, from {begins} on.")
    return fit_extra(
        training,
        model_dir / FOLDER,
        max_steps=max_steps,
        max_seconds=max_seconds,
        on_log=on_log,
        on_progress=on_progress,
    )
