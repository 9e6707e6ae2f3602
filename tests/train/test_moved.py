"""Clips played at another speed: pitch, features and sound move together, and that is told."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_batches import equal, flat
from torch.utils.data import DataLoader
from toy_training import AUDIO, CHANNELS, light, light_config, make_features

from sovits.audio.mel import linear_spectrogram
from sovits.train.dataset import FASTEST, SLOWEST, Batches, Crops, Recording, list_recordings

HOP, RATE = AUDIO.hop_length, AUDIO.sample_rate


def batches(folder: Path, epoch: int = 0, moved: float = 1.0) -> Batches:
    config = light_config(folder, moved=moved)
    made = Batches(list_recordings(Path(config.train.training_files), config), config)
    made.epoch = epoch
    return made


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on one core
def test_moved_crops_depend_on_seed_epoch_and_index_alone(tmp_path: Path) -> None:
    light(tmp_path)
    alone, shared = (
        list(DataLoader(batches(tmp_path, 3), batch_size=None, num_workers=n)) for n in (0, 2)
    )
    assert all(map(equal, alone, shared))
    assert not equal(batches(tmp_path, 3)[0], batches(tmp_path, 4)[0])


def test_without_moving_nothing_else_is_drawn(tmp_path: Path) -> None:
    light(tmp_path)
    plain = batches(tmp_path, moved=0.0)[0]
    assert torch.equal(plain.batch.formants, torch.ones(2))
    assert len(flat(plain)) == 10


def test_a_share_of_the_crops_moves_within_the_range(tmp_path: Path) -> None:
    light(tmp_path)
    speeds = torch.cat(
        [batches(tmp_path, epoch, 0.5)[i].batch.formants for epoch in range(40) for i in range(3)]
    )
    share = float((speeds != 1).float().mean())
    assert 0.35 < share < 0.6  # very short clips cannot be played much faster
    assert SLOWEST - 1e-3 <= speeds.min() < 0.85
    assert 1.4 < speeds.max() <= FASTEST + 1e-3


def glide(folder: Path, frames: int = 200) -> Recording:
    """Write a clip whose pitch, loudness and content tell where in it a frame is."""
    tensors = make_features(folder / "alice/9.wav", frames, 150.0)
    place = torch.arange(frames).float()
    path = folder / "alice/9.wav.features.safetensors"
    from safetensors.torch import save_file

    tensors |= {"volume": place, "content": place.expand(CHANNELS, -1).contiguous().half()}
    settings = {"content": "toy", "sample_rate": str(RATE), "hop_length": str(HOP)}
    save_file(tensors, path, settings)
    return Recording(path, 0, frames)


def played(folder: Path, seed: int) -> Crops:
    """Return one moved crop of the glide."""
    config = light_config(folder, latent=4, moved=1.0, seed=seed, batch_size=1)
    return Batches([glide(folder)], config)[0]


@pytest.mark.parametrize("seed", range(6))
def test_all_that_is_known_of_a_moved_crop_moves_together(tmp_path: Path, seed: int) -> None:
    batch = played(tmp_path, seed).batch
    speed = float(batch.formants)
    assert speed != 1
    middle, place = batch.content[0, 0], batch.volume[0]
    # Frames lie `speed` apart in the clip, and content is between the frames it is between.
    torch.testing.assert_close(middle.diff(), torch.full((15,), speed), rtol=0, atol=2e-3 * 200)
    assert (place - middle).abs().max() <= 0.51
    torch.testing.assert_close(
        batch.f0[0], 150 * (1 + 0.5 * middle / 199) * speed, rtol=2e-3, atol=0.0
    )
    assert torch.equal(batch.voiced[0], place % 7 > 0)


@pytest.mark.parametrize("seed", range(6))
def test_the_sound_of_a_moved_crop_has_the_pitch_that_is_told(tmp_path: Path, seed: int) -> None:
    crops = played(tmp_path, seed)
    start, wave = int(crops.batch.start), crops.wave[0, 0].double()
    assert wave.shape == (8 * HOP,)
    f0 = float(crops.batch.f0[0, start : start + 8].mean())
    # The strongest partial of a windowed spectrum, between bins by a parabola.
    size = 1 << 15
    spectrum = torch.fft.rfft(wave * torch.hann_window(len(wave), dtype=torch.float64), size).abs()
    peak = int(spectrum[: size * 350 // RATE].argmax())
    assert peak * RATE / size == pytest.approx(f0, rel=0.03)


@pytest.mark.parametrize("seed", range(4))
def test_the_spectrogram_is_that_of_the_sound(tmp_path: Path, seed: int) -> None:
    crops = played(tmp_path, seed)
    start = int(crops.batch.start)
    inner = slice(2, 6)  # what lies around the segment is not in `wave`
    here = linear_spectrogram(crops.wave[0, 0], AUDIO)[:, inner]
    whole = crops.batch.spectrogram[0][:, start : start + 8][:, inner]
    torch.testing.assert_close(whole, here, rtol=1e-3, atol=1e-3)


def test_spectra_that_no_network_looks_at_are_not_computed(tmp_path: Path) -> None:
    config = light_config(tmp_path, moved=0.5, batch_size=1)
    for seed in range(3):
        chosen = replace(config, train=replace(config.train, seed=seed))
        assert Batches([glide(tmp_path)], chosen)[0].batch.spectrogram.shape == (1, 0, 16)


def test_a_sine_of_any_speed_keeps_its_power_and_its_place(tmp_path: Path) -> None:
    """Two routes: the resampler, and the sine itself evaluated where it would be heard."""
    light(tmp_path)
    recording = glide(tmp_path)
    made = Batches([recording], light_config(tmp_path, moved=1.0))
    hz, total = 300.0, recording.frames
    time = torch.arange(total * HOP) / RATE
    stored = (8000 * torch.sin(2 * math.pi * hz * time)).to(torch.int16)
    for first, speed in ((0.0, 1.5), (20.3, 0.8), (50.7, 1.25), (120.0, 1.6)):
        wave, spectrogram = made._played(stored, first, 40, total, speed)
        assert wave.shape == (40 * HOP,)
        assert spectrogram.shape[-1] == 40
        at = first * HOP / RATE + torch.arange(40 * HOP) / RATE * speed
        wanted = 8000 / 32768 * torch.sin(2 * math.pi * hz * at)
        inner = slice(100, 30 * HOP)
        # Within half a sample: the clip begins between samples.
        error = (wave - wanted)[inner].abs().max()
        assert error < 8000 / 32768 * 2 * math.pi * hz * speed / RATE * 0.6


def test_clips_too_short_to_be_played_faster_are_not_moved(tmp_path: Path) -> None:
    light(tmp_path)
    config = light_config(tmp_path, moved=1.0)
    make_features(tmp_path / "bob/8.wav", 8, 100.0)
    recording = Recording(tmp_path / "bob/8.wav.features.safetensors", 1, 8)
    for epoch in range(8):
        made = Batches([recording], replace(config, train=replace(config.train, batch_size=1)))
        made.epoch = epoch
        assert float(made[0].batch.formants) <= 1.0
