"""Print docs/config.md, which tells of every key of config.json, or write it.

    python tools/config_page.py            # print it
    python tools/config_page.py --write    # put it into docs/config.md

Meanings, defaults and ranges are those of the code; units, and who else knows a key, stand here.
`tests/docs/test_config_page.py` holds the page and this file to the code.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from sovits.choices import field_docs
from sovits.config import (
    AudioConfig,
    DiscriminatorConfig,
    NativeConfig,
    SynthesizerConfig,
    TrainConfig,
)
from sovits.legacy.keys import DEAD, ENCODERS, NATIVE, REQUIRED, SETTINGS, Setting
from sovits.legacy.settings import config_from_json

PAGE = Path(__file__).parents[1] / "docs/config.md"
ROOMS: dict[str, type] = {
    "train": TrainConfig,
    "audio": AudioConfig,
    "synthesizer": SynthesizerConfig,
    "native": NativeConfig,
    "discriminator": DiscriminatorConfig,
}

UNITS = {
    "steps": "train.log_interval train.eval_interval train.adversarial_from",
    "passes": "train.epochs",
    "clips": "train.batch_size",
    "frames": "train.context_frames model.look_ahead",
    "evaluations": "train.patience",
    "checkpoints": "train.keep_ckpts",
    "processes": "train.num_workers",
    "batches": "train.accumulate_grad_batches",
    "share": "train.moved train.others train.balance model.p_dropout",
    "samples": "train.fft_sizes train.hop_sizes train.win_lengths train.segment_size "
    "data.filter_length data.hop_length data.win_length model.gen_istft_n_fft "
    "model.gen_istft_hop_size model.discriminator_periods model.discriminator_spectra",
    "Hz": "data.sampling_rate data.mel_fmin data.mel_fmax",
    "path": "data.training_files data.validation_files",
    "bands": "data.n_mel_channels model.subbands",
    "channels": "model.ssl_dim model.inter_channels model.hidden_channels model.filter_channels "
    "model.gin_channels model.upsample_initial_channel model.width model.latent",
    "speakers": "model.n_speakers",
    "points": "model.harmonic_bands model.noise_bands",
    "taps": "model.kernel_size model.resblock_kernel_sizes model.upsample_kernel_sizes",
    "heads": "model.n_heads",
    "layers": "model.n_layers model.n_flow_layer model.posterior_layers model.prior_blocks "
    "model.decoder_blocks",
}
"""What numbers are counted in, and the keys of which this is so; others have no unit."""

ONLY = {
    "train.moved": NATIVE,
    "train.fft_sizes": "vits of type mb-istft",
    "train.hop_sizes": "vits of type mb-istft",
    "train.win_lengths": "vits of type mb-istft",
    "train.c_kl": "vits, and light ones with a latent",
}
"""Keys of training that only some voices read."""

FORK = """
train: log_interval eval_interval seed epochs learning_rate betas eps batch_size fp16_run bf16_run
    lr_decay segment_size c_mel c_kl keep_ckpts num_workers log_version ckpt_name_by_step
    accumulate_grad_batches init_lr_ratio warmup_epochs use_sr max_speclen port window fft_sizes
    hop_sizes win_lengths
data: training_files validation_files max_wav_value sampling_rate filter_length hop_length
    win_length n_mel_channels mel_fmin mel_fmax contentvec_final_proj
model: inter_channels hidden_channels filter_channels n_heads n_layers kernel_size p_dropout
    resblock resblock_kernel_sizes resblock_dilation_sizes upsample_rates upsample_kernel_sizes
    upsample_initial_channel gin_channels ssl_dim n_speakers type_ gen_istft_n_fft
    gen_istft_hop_size subbands use_spectral_norm n_layers_q pretrained
"""
SO_VITS_SVC = """
train: log_interval eval_interval seed epochs learning_rate betas eps batch_size fp16_run half_type
    lr_decay segment_size init_lr_ratio warmup_epochs c_mel c_kl use_sr max_speclen port
    keep_ckpts all_in_mem vol_aug
data: training_files validation_files max_wav_value sampling_rate filter_length hop_length
    win_length n_mel_channels mel_fmin mel_fmax unit_interpolate_mode
model: inter_channels hidden_channels filter_channels n_heads n_layers kernel_size p_dropout
    resblock resblock_kernel_sizes resblock_dilation_sizes upsample_rates upsample_kernel_sizes
    upsample_initial_channel n_layers_q n_layers_trans_flow n_flow_layer use_spectral_norm
    gin_channels ssl_dim n_speakers vocoder_name speech_encoder speaker_embedding vol_embedding
    use_depthwise_conv flow_share_parameter use_automatic_f0_prediction use_transformer_flow
"""


class Composed(NamedTuple):
    """A key that is one of several that a setting is made of."""

    default: str
    values: str
    meaning: str


COMPOSED = {
    "train.segment_size": Composed(
        "20 frames",
        "a multiple of `data.hop_length`",
        "Samples that the decoder renders of each clip.",
    ),
    "train.fp16_run": Composed(
        "`false`",
        "true or false",
        "Half precision. It is bfloat16 here, which is as fast and cannot overflow.",
    ),
    "train.bf16_run": Composed(
        "`false`", "true or false", "The networks compute in bfloat16; not together with fp16_run."
    ),
    "train.half_type": Composed(
        '`"fp16"`', '`"fp16"` or `"bf16"`', "What fp16_run means in 4.1; either is bfloat16 here."
    ),
    "data.win_length": Composed(
        "`data.filter_length`", "the same", "Windows are as long as transforms."
    ),
    "data.contentvec_final_proj": Composed(
        "`true`, if nothing else tells the encoder",
        "true or false",
        "Content encoder: true is `contentvec-256l9`, false `contentvec-768l12`.",
    ),
    "model.content": Composed(
        "told by the others",
        "a name of `svc pre-config --speech-encoder`",
        "Content encoder; comes before all else that hints at it.",
    ),
    "model.speech_encoder": Composed(
        "told by the others",
        ", ".join(f"`{name}`" for name in ENCODERS if not name.endswith("-onnx")),
        "Content encoder, in the words of so-vits-svc 4.1.",
    ),
}
WHY_DEAD = {
    "train.init_lr_ratio": "The rate of learning does not warm up.",
    "train.warmup_epochs": "The rate of learning does not warm up.",
    "train.use_sr": "Nobody ever read it.",
    "train.max_speclen": "Nobody ever read it; `train.context_frames` is the length of crops.",
    "train.port": "Processes find one another by torchrun or SLURM.",
    "train.window": "Windows are Hann windows.",
    "train.log_version": "TensorBoard's files have their time in their names.",
    "train.all_in_mem": "Clips are held in memory if they fit.",
    "train.vol_aug": "Loudness is not disturbed in training.",
    "data.max_wav_value": "Clips are read as numbers between -1 and 1.",
    "data.unit_interpolate_mode": "Content is stretched to frames in one way: the nearest.",
    "model.n_layers_q": "The posterior encoder has `model.posterior_layers` layers.",
    "model.n_layers_trans_flow": "Only of transformer flows.",
    "model.pretrained": "Nothing is fetched unasked: put a pair into the folder of the training.",
    "model.speaker_embedding": "There always is one.",
}

HEAD = f"""# Settings: every key of config.json

This page is made by `tools/config_page.py`. [The guide](guide.md) tells how to train, this page
what each setting of a training means. `svc pre-config` writes `configs/44k/config.json`, with the
keys that so-vits-svc and its fork use, and `svc train` keeps a copy beside the checkpoints, which a
`G_*.pth` needs to convert.

- Files of the fork, of so-vits-svc 4.0 and 4.1 and of our own are read as they are. A key that is
  left out has the value in the column "if left out".
- A key that nobody knows is named, with the nearest one that there is, and left out. Keys that
  others write and that have [no effect here](#without-effect) are named too.
- A value of another type or out of its range, settings that contradict one another, and variants
  that [need another network](#variants-that-are-refused) are refused in one line.
- Settings of `train` may be changed between two runs of a training. Those of `data` and `model` are
  those of the features and the weights. What has changed is told.

"Voices" says which read a key: `vits` are those of so-vits-svc's architecture, whatever their
decoder; `{NATIVE}` are light ones (`model.type_`). "Known to" says who else writes it: the fork
(4.2), or so-vits-svc 4.1, of which 4.0 knows most.
"""


def keys(text: str) -> set[str]:
    """Return `section.key` for each word of a list by sections."""
    found, section = set(), ""
    for word in text.split():
        if word.endswith(":"):
            section = word[:-1]
        else:
            found.add(f"{section}.{word}")
    return found


def known_to(key: str) -> str:
    """Return who else writes a key."""
    names = [name for name, text in (("fork", FORK), ("4.1", SO_VITS_SVC)) if key in keys(text)]
    return ", ".join(names) or "–"


def unit(key: str) -> str:
    """Return what a number is counted in."""
    return next((name for name, found in UNITS.items() if key in found.split()), "–")


def as_json(value: object) -> str:
    """Return a value as it stands in the file."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    return f"`{json.dumps(value)}`"


def allowed(setting: Setting) -> str:
    """Return which values a key may have."""
    want = get_type_hints(ROOMS[setting.room])[setting.name]
    lists = ""
    while get_origin(want) is tuple:
        inside = get_args(want)
        lists += f"{len(inside)} of " if inside[-1] is not Ellipsis else "list of "
        want = inside[0]
    nullable = type(None) in get_args(want)
    want = next((kind for kind in get_args(want) if kind is float), want) if nullable else want
    if get_origin(want) is Literal:
        return lists + " or ".join(f'`"{word}"`' for word in get_args(want))
    if want is bool:
        return "true or false"
    if want is str:
        return "text"
    numbers = "whole, " if want is int else ""
    span = f"{lists}{numbers}{setting.low:.10g} to {setting.high:.10g}"
    extra = ", or null" if nullable else ""
    return span + extra + (', or `"auto"`' if setting.key == "train.batch_size" else "")


def table(*rows: tuple[str, ...]) -> str:
    """Return rows of cells as Markdown; the first row is the head."""
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|---" * len(rows[0]) + "|", *body])


def settings(section: str) -> str:
    """Return the keys of one section."""
    parts: dict[str, Any] = {}
    for kind in (None, NATIVE):
        model = {"type_": kind} if kind else {}
        config, _ = config_from_json({"train": {}, "data": {}, "model": model})
        voice = config.voice
        parts |= {"train": config.train, "audio": voice.audio}
        parts |= {"discriminator": config.discriminator}
        parts["native" if kind else "synthesizer"] = voice.synthesizer
    rows = [("key", "if left out", "values", "unit", "voices", "known to", "meaning")]
    for setting in SETTINGS:
        if not setting.key.startswith(f"{section}."):
            continue
        rooms = {"native": NATIVE, "synthesizer": "vits"}
        voices = ONLY.get(setting.key) or rooms.get(setting.room, "all")
        twice = sum(other.key == setting.key for other in SETTINGS) > 1
        known = "–" if setting.room == "native" and not twice else known_to(setting.key)
        rows.append(
            (
                f"`{setting.key}`",
                as_json(getattr(parts[setting.room], setting.name)),
                allowed(setting),
                unit(setting.key),
                voices,
                known,
                field_docs(ROOMS[setting.room])[setting.name],
            )
        )
    for key, told in COMPOSED.items():
        if key.startswith(f"{section}."):
            rows.append(
                (
                    f"`{key}`",
                    told.default,
                    told.values,
                    unit(key),
                    "all",
                    known_to(key),
                    told.meaning,
                )
            )
    return table(*rows)


def page() -> str:
    """Return the whole page."""
    dead = [(f"{section}.{key}") for section, found in DEAD.items() for key in found]
    refused = [
        (f"`model.{key}`", as_json(value), known_to(f"model.{key}"))
        for key, value in REQUIRED.items()
    ]
    parts = [
        HEAD,
        "## train: how it learns\n",
        settings("train") + "\n",
        "## data: what it learns from\n",
        settings("data") + "\n",
        "## model: what learns\n",
        settings("model") + "\n",
        "## spk: who speaks\n",
        "An object with the row of each speaker in the speaker table, such as "
        '`{"alice": 0, "bob": 1}`: whole numbers\n'
        "from 0 up, below `model.n_speakers`. The name is that of the folder of clips. Known to "
        "all. A speaker\nkeeps its row as long as a training goes on; new ones take new rows.\n",
        "## Without effect\n",
        "These are read from files of others, and named when they are.\n",
        table(
            ("dead key", "known to", "why it has no effect"),
            *((f"`{key}`", known_to(key), WHY_DEAD[key]) for key in dead),
        )
        + "\n",
        "## Variants that are refused\n",
        "With any other value these keys of so-vits-svc 4.1 describe networks of other tensors.\n",
        table(("key", "only value", "known to"), *refused) + "\n",
    ]
    return "\n".join(parts)


def main() -> None:
    """Print the page, or put it where it belongs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write docs/config.md")
    if parser.parse_args().write:
        PAGE.write_text(page(), "utf-8")
    else:
        print(page(), end="")


if __name__ == "__main__":
    main()
