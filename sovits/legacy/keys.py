"""The keys of other programs' `config.json`, and what each means here."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

CHANNELS = {
    "contentvec-768l12": 768,
    "contentvec-256l9": 256,
    "hubert-soft": 256,
    "whisper-base": 512,
    "whisper-base-still": 512,
    "sovits-content": 192,
}
"""Channels of the content encoders that voices can have been trained with."""
NATIVE = "sovits-native"
"""What `model.type_` is for voices of this project's own architecture; others name a decoder."""

# so-vits-svc 4.1's names; the ONNX ones are the same networks in another container.
ENCODERS = {
    "vec768l12": "contentvec-768l12",
    "vec768l12-onnx": "contentvec-768l12",
    "vec256l9": "contentvec-256l9",
    "vec256l9-onnx": "contentvec-256l9",
    "hubertsoft": "hubert-soft",
    "hubertsoft-onnx": "hubert-soft",
}
OTHER_ENCODERS = (
    "whisper-ppg",
    "whisper-ppg-large",
    "cnhubertlarge",
    "dphubert",
    "wavlmbase+",
    "cnhubertsoft",
)


class Setting(NamedTuple):
    """One key of the JSON file, and where `Config` keeps its value."""

    key: str
    room: str
    name: str
    low: float = -math.inf
    high: float = math.inf


SETTINGS = (
    Setting("train.log_interval", "train", "log_interval", 1, 1e9),
    Setting("train.eval_interval", "train", "eval_interval", 1, 1e9),
    Setting("train.seed", "train", "seed", 0, 2**32 - 1),
    Setting("train.epochs", "train", "epochs", 1, 1e9),
    Setting("train.learning_rate", "train", "learning_rate", 0, 1),
    Setting("train.betas", "train", "betas", 0, 1),
    Setting("train.eps", "train", "eps", 0, 1),
    Setting("train.batch_size", "train", "batch_size", 1, 65_536),
    Setting("train.lr_decay", "train", "lr_decay", 0, 1),
    Setting("train.context_frames", "train", "context_frames", 1, 100_000),
    Setting("train.c_mel", "train", "mel_weight", 0, 1e6),
    Setting("train.c_kl", "train", "kl_weight", 0, 1e6),
    Setting("train.c_stft", "train", "stft_weight", 0, 1e6),
    Setting("train.c_fm", "train", "feature_weight", 0, 1e6),
    Setting("train.average", "train", "average", 0, 1),
    Setting("train.moved", "train", "moved", 0, 1),
    Setting("train.others", "train", "others", 0, 1),
    Setting("train.balance", "train", "balance", 0, 1),
    Setting("train.patience", "train", "patience", 0, 1e9),
    Setting("train.keep_ckpts", "train", "keep_checkpoints", 0, 1e9),
    Setting("train.num_workers", "train", "num_workers", 0, 1024),
    Setting("train.ckpt_name_by_step", "train", "name_by_step"),
    Setting("train.accumulate_grad_batches", "train", "accumulate", 1, 65_536),
    Setting("train.max_gradient", "train", "max_gradient", 0, 1e9),
    Setting("train.adversarial_from", "train", "adversarial_from", 0, 1e12),
    Setting("train.fft_sizes", "train", "stft_fft_sizes", 4, 65_536),
    Setting("train.hop_sizes", "train", "stft_hop_lengths", 1, 65_536),
    Setting("train.win_lengths", "train", "stft_window_lengths", 1, 65_536),
    Setting("data.training_files", "train", "training_files"),
    Setting("data.validation_files", "train", "validation_files"),
    Setting("data.sampling_rate", "audio", "sample_rate", 4_000, 384_000),
    Setting("data.filter_length", "audio", "n_fft", 16, 65_536),
    Setting("data.hop_length", "audio", "hop_length", 8, 16_384),
    Setting("data.n_mel_channels", "audio", "n_mels", 4, 1024),
    Setting("data.mel_fmin", "audio", "mel_min", 0, 192_000),
    Setting("data.mel_fmax", "audio", "mel_max", 1, 192_000),
    Setting("model.ssl_dim", "synthesizer", "content_channels", 1, 16_384),
    Setting("model.inter_channels", "synthesizer", "inter_channels", 2, 16_384),
    Setting("model.hidden_channels", "synthesizer", "hidden_channels", 1, 16_384),
    Setting("model.filter_channels", "synthesizer", "filter_channels", 1, 16_384),
    Setting("model.n_heads", "synthesizer", "n_heads", 1, 256),
    Setting("model.n_layers", "synthesizer", "n_layers", 1, 128),
    Setting("model.kernel_size", "synthesizer", "kernel_size", 1, 255),
    Setting("model.p_dropout", "synthesizer", "dropout", 0, 0.99),
    Setting("model.gin_channels", "synthesizer", "speaker_channels", 1, 16_384),
    Setting("model.n_speakers", "synthesizer", "n_speakers", 1, 1_000_000),
    Setting("model.n_flow_layer", "synthesizer", "flow_layers", 1, 128),
    Setting("model.posterior_layers", "synthesizer", "posterior_layers", 1, 128),
    Setting("model.type_", "synthesizer", "decoder"),
    Setting("model.resblock", "synthesizer", "resblock"),
    Setting("model.resblock_kernel_sizes", "synthesizer", "resblock_kernel_sizes", 1, 255),
    Setting("model.resblock_dilation_sizes", "synthesizer", "resblock_dilations", 1, 4096),
    Setting("model.upsample_rates", "synthesizer", "upsample_rates", 1, 512),
    Setting("model.upsample_kernel_sizes", "synthesizer", "upsample_kernel_sizes", 1, 1024),
    Setting(
        "model.upsample_initial_channel", "synthesizer", "upsample_initial_channels", 1, 16_384
    ),
    Setting("model.gen_istft_n_fft", "synthesizer", "istft_n_fft", 4, 4096),
    Setting("model.gen_istft_hop_size", "synthesizer", "istft_hop_length", 1, 1024),
    Setting("model.subbands", "synthesizer", "subbands", 1, 64),
    Setting("model.vol_embedding", "synthesizer", "volume"),
    Setting("model.use_automatic_f0_prediction", "synthesizer", "predicts_f0"),
    Setting("model.use_spectral_norm", "discriminator", "spectral_norm"),
    Setting("model.discriminator_periods", "discriminator", "periods", 1, 1024),
    Setting("model.discriminator_width", "discriminator", "width", 0.001, 16),
    Setting("model.discriminator_scale", "discriminator", "scale"),
    Setting("model.discriminator_spectra", "discriminator", "spectra", 16, 65_536),
    Setting("model.type_", "native", "architecture"),
    Setting("model.ssl_dim", "native", "content_channels", 1, 16_384),
    Setting("model.gin_channels", "native", "speaker_channels", 1, 16_384),
    Setting("model.n_speakers", "native", "n_speakers", 1, 1_000_000),
    Setting("model.width", "native", "width", 1, 16_384),
    Setting("model.prior_blocks", "native", "prior_blocks", 1, 128),
    Setting("model.decoder_blocks", "native", "decoder_blocks", 1, 128),
    Setting("model.kernel_size", "native", "kernel_size", 2, 255),
    Setting("model.expansion", "native", "expansion", 1, 64),
    Setting("model.look_ahead", "native", "look_ahead", 4, 1024),
    Setting("model.harmonic_bands", "native", "harmonic_bands", 2, 1024),
    Setting("model.noise_bands", "native", "noise_bands", 2, 1024),
    Setting("model.harmonics", "native", "harmonics"),
    Setting("model.latent", "native", "latent", 0, 16_384),
    Setting("model.n_flow_layer", "native", "flow_layers", 0, 128),
)
"""Every key that stands for one setting, with the range of its numbers.

A voice has the rooms of one network: `native` if its type is `sovits-native`, else `synthesizer`.
"""

# Keys that two or more settings are made of; `_gather` reads them.
COMPOSED = {
    "train": ("fp16_run", "bf16_run", "half_type", "segment_size"),
    "data": ("win_length", "contentvec_final_proj"),
    "model": ("content", "speech_encoder"),
    "spk": (),
}
# Keys that other programs write and never read, or read for what is not done here.
DEAD = {
    "train": (
        "init_lr_ratio",
        "warmup_epochs",
        "use_sr",
        "max_speclen",
        "port",
        "window",
        "log_version",
        "all_in_mem",
        "vol_aug",
    ),
    "data": ("max_wav_value", "unit_interpolate_mode"),
    "model": ("n_layers_q", "n_layers_trans_flow", "pretrained", "speaker_embedding"),
}
# Variants of 4.1's network: any other value than this one makes a network of other tensors.
REQUIRED: dict[str, Any] = {
    "vocoder_name": "nsf-hifigan",
    "use_depthwise_conv": False,
    "flow_share_parameter": False,
    "use_transformer_flow": False,
}
