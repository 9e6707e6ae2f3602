"""One step: it learns, it reaches every parameter, and it notices when it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor
from toy_training import set_toy, toy, toy_config, without_dropout

from sovits.config import Config, DecoderKind
from sovits.errors import ConfigError, TrainingError
from sovits.models import losses
from sovits.models.synthesizer import Synthesizer, TrainBatch
from sovits.train import fit
from sovits.train.checkpoint import list_checkpoints
from sovits.train.dataset import Batches, Crops, list_recordings
from sovits.train.loop import _trainee
from sovits.train.step import Objective, Trainee, train_step

CPU = torch.device("cpu")


def begin(
    folder: Path, decoder: DecoderKind = "hifi-gan", **train: Any
) -> tuple[Config, Trainee, Crops]:
    """Return a training that is about to begin, and its first batch."""
    toy(folder)
    config = without_dropout(toy_config(folder, decoder, **train))
    batches = Batches(list_recordings(Path(config.train.training_files), config), config)
    return config, _trainee(config, CPU), batches[0]


def step(config: Config, trainee: Trainee, crops: Crops, **rest: Any) -> dict[str, Tensor]:
    fabric = Fabric(accelerator="cpu", devices=1)
    plain = torch.autocast("cpu", torch.bfloat16, enabled=False)
    return train_step(fabric, trainee, Objective(config, CPU), crops, plain, **rest)


@pytest.mark.parametrize(("decoder", "factor"), [("hifi-gan", 2.5), ("harmonic", 2.5)])
def test_overfits_one_batch(tmp_path: Path, decoder: DecoderKind, factor: float) -> None:
    config, trainee, crops = begin(tmp_path, decoder, learning_rate=5e-3, adversarial_from=10**6)
    history = []
    for _ in range(100):
        history.append(step(config, trainee, crops)["mel"].item())
        trainee.step += 1
    assert sum(history[-5:]) / 5 < history[0] / factor


@pytest.mark.parametrize("decoder", get_args(DecoderKind))
def test_gradients_reach_every_parameter(tmp_path: Path, decoder: DecoderKind) -> None:
    config, trainee, crops = begin(tmp_path, decoder)
    assert isinstance(trainee.generator, Synthesizer)
    for name, weight in trainee.generator.flow.named_parameters():
        if ".post." in name:  # the flow starts as the identity, which holds back what is before it
            torch.nn.init.normal_(weight)
    terms = step(config, trainee, crops, update=False)
    assert set(terms) >= {"mel", "kl", "f0", "features", "adversarial", "discriminator"}
    assert ("bands" in terms) == (decoder == "mb-istft")
    held = {n for n, weight in trainee.generator.named_parameters() if not weight.requires_grad}
    assert held == (
        {"dec.m_source.l_linear.weight", "dec.m_source.l_linear.bias"} if held else held
    )
    for network in (trainee.generator, trainee.discriminator):
        missed = {
            name
            for name, weight in network.named_parameters()
            if weight.grad is None or not weight.grad.any()
        }
        # Adding one number to every score changes no attention, so keys have no use for a bias.
        assert {name for name in missed if not name.endswith("conv_k.bias")} == set()


def test_each_network_learns_from_its_own_terms_alone(tmp_path: Path) -> None:
    config, trainee, crops = begin(tmp_path)
    torch.manual_seed(1)
    step(config, trainee, crops, update=False)
    torch.manual_seed(1)
    fake = trainee.generator(crops.batch, config.train.segment_frames).wave.detach()
    judge = trainee.discriminator
    loss = losses.discriminator_adversarial(*judge(crops.wave, fake))
    for weight, wanted in zip(
        judge.parameters(), torch.autograd.grad(loss, list(judge.parameters())), strict=True
    ):
        torch.testing.assert_close(weight.grad, wanted)
        assert weight.requires_grad


def test_groups_of_batches_add_up_before_the_weights_move(tmp_path: Path) -> None:
    config, trainee, crops = begin(tmp_path, accumulate=2)
    before = [w.detach().clone() for w in trainee.discriminator.parameters()]
    gradients = []
    for _ in range(2):
        torch.manual_seed(1)  # the same batch again, with the same noise
        step(config, trainee, crops, update=False)
        gradients.append([w.grad.clone() for w in trainee.discriminator.parameters()])  # type: ignore[union-attr]
    for once, twice in zip(*gradients, strict=True):
        torch.testing.assert_close(twice, 2 * once)
    weights = list(trainee.discriminator.parameters())
    assert all(map(torch.equal, before, (w.detach() for w in weights)))
    step(config, trainee, crops)
    assert all(weight.grad is None for weight in weights)
    assert not any(map(torch.equal, before, (w.detach() for w in weights)))


@pytest.mark.parametrize(
    ("decoder", "change", "needed"),
    [("harmonic", {"stft_weight": 1.0}, 1024), ("mb-istft", {"stft_fft_sizes": (64, 256)}, 512)],
)
def test_segments_that_are_too_short_for_a_spectrum_are_refused(
    tmp_path: Path, decoder: DecoderKind, change: dict[str, Any], needed: int
) -> None:
    config = toy(tmp_path, decoder, **change)
    with pytest.raises(
        ConfigError, match=f"segment_size is 512, but must be more than {needed} samples"
    ):
        fit(config, tmp_path / "model", device="cpu", on_log=print)
    config = set_toy(tmp_path, decoder, **change, segment_frames=17, context_frames=20)
    fit(config, tmp_path / "model", device="cpu", max_steps=1, on_log=print)


def test_judges_rest_until_they_take_part(tmp_path: Path) -> None:
    config, trainee, crops = begin(tmp_path, adversarial_from=1)
    before = [w.detach().clone() for w in trainee.discriminator.parameters()]
    assert set(step(config, trainee, crops)) == {"mel", "kl", "f0"}
    assert all(map(torch.equal, before, (w.detach() for w in trainee.discriminator.parameters())))
    trainee.step = 1
    assert "discriminator" in step(config, trainee, crops)
    assert not torch.equal(before[0], next(trainee.discriminator.parameters()).detach())


def test_divergence_names_its_term_and_spares_the_weights(tmp_path: Path) -> None:
    config, trainee, crops = begin(tmp_path)
    before = [w.detach().clone() for w in trainee.generator.parameters()]
    poisoned = crops._replace(wave=torch.full_like(crops.wave, torch.nan))
    with pytest.raises(
        TrainingError, match=r"diverged at step 0: mel is nan, features is nan\. The last"
    ):
        step(config, trainee, poisoned)
    poisoned = crops._replace(batch=crops.batch._replace(content=crops.batch.content / 0))
    with pytest.raises(TrainingError, match=r"step 0: kl is nan, f0 is nan\."):
        step(config, trainee, poisoned)
    assert all(map(torch.equal, before, (w.detach() for w in trainee.generator.parameters())))


def test_divergence_leaves_the_checkpoint(tmp_path: Path) -> None:
    config, model = toy(tmp_path, learning_rate=1e-4, name_by_step=True), tmp_path / "model"
    fit(config, model, max_steps=2, device="cpu", on_log=print)
    config.write_text(config.read_text().replace('"learning_rate": 0.0001', '"learning_rate": 1.0'))
    with pytest.raises(TrainingError, match="diverged at step"):
        fit(config, model, max_steps=200, device="cpu", on_log=print)
    assert [c.number for c in list_checkpoints(model)] == [2]


def test_padding_of_short_clips_changes_no_term(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, trainee, _ = begin(tmp_path)
    recordings = list_recordings(Path(config.train.training_files), config)
    short = next(r for r in recordings if r.frames == 10)
    crops = Batches([short], config)[0]
    assert crops.batch.mask.sum(-1).flatten().tolist() == [10, 10]
    cut = TrainBatch(*(x[..., :10] if x.shape[-1] == 16 else x for x in crops.batch))
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)  # drawn for the padding, too
    objective = Objective(config, CPU)
    padded, exact = (
        objective.reconstruction(
            crops._replace(batch=batch),
            torch.manual_seed(0) and trainee.generator(batch, config.train.segment_frames),
        )
        for batch in (crops.batch, cut)
    )
    assert padded.keys() == exact.keys() == {"mel", "kl", "f0"}
    for name, term in padded.items():
        torch.testing.assert_close(term, exact[name], rtol=1e-5, atol=1e-6)


def test_a_new_training_tells_where_it_begins(tmp_path: Path) -> None:
    told: list[str] = []
    fit(toy(tmp_path), tmp_path / "model", max_steps=1, device="cpu", on_log=told.append)
    steps = [line for line in told if line.startswith("step ")]
    assert steps[0].startswith("step 0  held-out log-mel distance ")
    assert steps[1].startswith("step 1  epoch 1  mel ")
    assert steps[2].startswith("step 1  held-out log-mel distance ")
