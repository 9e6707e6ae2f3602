"""Names, shapes and numbers of tensors, as published models have them.

The inventory is written out here from the tables of so-vits-svc and its fork, so that a renamed or
reshaped tensor shows even where the number of parameters stays the same.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from reference_cases import RATES

from sovits.config import (
    AudioConfig,
    DecoderKind,
    DiscriminatorConfig,
    SynthesizerConfig,
)
from sovits.models.discriminator import Discriminator
from sovits.models.synthesizer import Synthesizer

Inventory = dict[str, tuple[int, ...]]


def plain(name: str, *shape: int) -> Inventory:
    """A layer with a bias of its first axis."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def normed(name: str, *shape: int, bias: int | None = None) -> Inventory:
    """A weight-normalised convolution: the first axis has the lengths; no bias if it is 0."""
    bias = shape[0] if bias is None else bias
    found = {f"{name}.weight_v": shape, f"{name}.weight_g": (shape[0], *[1] * (len(shape) - 1))}
    return found | ({f"{name}.bias": (bias,)} if bias else {})


def wavenet(name: str, layers: int, speaker: int, hidden: int = 192) -> Inventory:
    """Gated convolutions of kernel 5; the last one has no residual path."""
    found = normed(f"{name}.cond_layer", 2 * hidden * layers, speaker, 1)
    for i in range(layers):
        found |= normed(f"{name}.in_layers.{i}", 2 * hidden, hidden, 5)
        out = hidden if i == layers - 1 else 2 * hidden
        found |= normed(f"{name}.res_skip_layers.{i}", out, hidden, 1)
    return found


def transformer(
    name: str, attention: str, norms: tuple[str, str], width: int, *, relative: bool
) -> Inventory:
    """Six layers of attention and feed-forward, with the names that each of the two kinds has."""
    found: Inventory = {}
    for i in range(6):
        for part in "qkvo":
            found |= plain(f"{name}.{attention}.{i}.conv_{part}", 192, 192, 1)
        if relative:
            for part in "kv":
                found[f"{name}.{attention}.{i}.emb_rel_{part}"] = (1, 9, 96)
        for norm in norms:
            found |= {f"{name}.{norm}.{i}.gamma": (192,), f"{name}.{norm}.{i}.beta": (192,)}
        found |= plain(f"{name}.ffn_layers.{i}.conv_1", width, 192, 3)
        found |= plain(f"{name}.ffn_layers.{i}.conv_2", 192, width, 3)
    return found


def decoder(config: SynthesizerConfig) -> Inventory:
    """`dec.*`: the trunk, and what each kind has before and after it."""
    found = normed("dec.conv_pre", 512, 192, 7)
    width, left = 512, 512
    for i, (rate, kernel) in enumerate(
        zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True)
    ):
        half = width // 2
        found |= normed(f"dec.ups.{i}", width, half, kernel, bias=half)
        left //= rate
        if config.decoder == "hifi-gan":
            size = 2 * left if left > 1 else 1
            found |= plain(f"dec.noise_convs.{i}", half, 1, size)
        for j, size in enumerate((3, 7, 11)):
            names = (
                [f"convs{a}.{b}" for a in (1, 2) for b in range(3)]
                if config.resblock == "1"
                else ["convs.0", "convs.1"]
            )
            for name in names:
                found |= normed(f"dec.resblocks.{3 * i + j}.{name}", half, half, size)
        width = half
    match config.decoder:
        case "hifi-gan":
            found |= plain("dec.m_source.l_linear", 1, 9)
            found |= plain("dec.cond", 512, config.speaker_channels, 1)
            found |= normed("dec.conv_post", 1, width, 7)
        case "istft":
            found |= normed("dec.conv_post", 18, width, 7)
        case "ms-istft":
            found |= normed("dec.subband_conv_post", 72, width, 7)
            found |= normed("dec.multistream_conv_post", 1, 4, 63, bias=0)
            found["dec.updown_filter"] = (4, 4, 4)
        case "mb-istft":
            found |= normed("dec.subband_conv_post", 72, width, 7)
    return found


def synthesizer_inventory(config: SynthesizerConfig) -> Inventory:
    """Every tensor of a model of usual width."""
    speaker, width = config.speaker_channels, config.filter_channels
    found: Inventory = {
        "emb_g.weight": (config.n_speakers, speaker),
        "emb_uv.weight": (2, 192),
        "enc_p.f0_emb.weight": (256, 192),
    }
    found |= plain("pre", 192, config.content_channels, 5)
    found |= plain("enc_p.proj", 384, 192, 1)
    norms = ("norm_layers_1", "norm_layers_2")
    found |= transformer("enc_p.enc_", "attn_layers", norms, width, relative=True)
    found |= plain("enc_q.pre", 192, 1025, 1)
    found |= wavenet("enc_q.enc", 16, speaker)
    found |= plain("enc_q.proj", 384, 192, 1)
    for k in (0, 2, 4, 6):
        found |= plain(f"flow.flows.{k}.pre", 192, 96, 1)
        found |= wavenet(f"flow.flows.{k}.enc", config.flow_layers, speaker)
        found |= plain(f"flow.flows.{k}.post", 96, 192, 1)
    if config.predicts_f0:
        found |= plain("f0_decoder.prenet", 192, 192, 3)
        found |= plain("f0_decoder.f0_prenet", 192, 1, 3)
        found |= plain("f0_decoder.cond", 192, speaker, 1)
        found |= plain("f0_decoder.proj", 1, 192, 1)
        norms = ("norm_layers_0", "norm_layers_1")
        name = "f0_decoder.decoder"
        found |= transformer(name, "self_attn_layers", norms, width, relative=False)
    if config.volume:
        found |= plain("emb_vol", 192, 1)
    return found | decoder(config)


def discriminator_inventory() -> Inventory:
    """One scale discriminator and those of five periods."""
    found: Inventory = {}
    scale = [
        (16, 1, 15),
        (64, 4, 41),  # the second axis is that of one group
        (256, 4, 41),
        (1024, 4, 41),
        (1024, 4, 41),
        (1024, 1024, 5),
    ]
    for j, shape in enumerate(scale):
        found |= normed(f"discriminators.0.convs.{j}", *shape)
    found |= normed("discriminators.0.conv_post", 1, 1024, 3)
    for i in range(1, 6):
        widths = (1, 32, 128, 512, 1024, 1024)
        for j in range(5):
            shape = (widths[j + 1], widths[j], 5, 1)
            found |= normed(f"discriminators.{i}.convs.{j}", *shape)
        found |= normed(f"discriminators.{i}.conv_post", 1, 1024, 3, 1)
    return found


def of_kind(kind: DecoderKind, **changes: object) -> SynthesizerConfig:
    """The configs that the fork ships, and its istft with rates that make 512 samples."""
    rates, kernels = RATES[kind]
    return replace(
        SynthesizerConfig(),
        decoder=kind,
        upsample_rates=rates,
        upsample_kernel_sizes=kernels,
        **changes,  # type: ignore[arg-type]
    )


BASE_41 = SynthesizerConfig(speaker_channels=768, n_speakers=1)
WIDE = {
    width: replace(BASE_41, content_channels=width, speaker_channels=width, filter_channels=width)
    for width in (1024, 1280)
}

CENSUS = [
    # config, tensors, parameters
    (of_kind("hifi-gan"), 751, 45_648_653),
    (of_kind("hifi-gan", content_channels=256), 751, 45_157_133),
    (of_kind("ms-istft"), 569, 46_918_286),
    (of_kind("mb-istft"), 566, 46_918_033),
    (of_kind("istft"), 623, 45_315_685),
    (BASE_41, 751, 52_250_125),
    (replace(BASE_41, volume=True), 753, 52_250_509),
    (replace(BASE_41, predicts_f0=False), 647, 45_782_604),
    (replace(BASE_41, flow_layers=6), 799, 58_166_797),
    (replace(BASE_41, content_channels=256, speaker_channels=256), 751, 45_106_189),
    (WIDE[1024], 751, 59_364_109),
    (WIDE[1280], 751, 66_478_093),
]


@pytest.mark.parametrize(("config", "tensors", "parameters"), CENSUS)
def test_synthesizer_has_the_tensors_of_published_models(
    config: SynthesizerConfig, tensors: int, parameters: int
) -> None:
    with torch.device("meta"):
        synthesizer = Synthesizer(config, AudioConfig())
    state = synthesizer.state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == (
        synthesizer_inventory(config)
    )
    assert len(state) == tensors
    assert sum(p.numel() for p in synthesizer.parameters()) == parameters


@pytest.mark.parametrize("kind", list(RATES))
def test_the_second_kind_of_residual_block_has_its_own_names(kind: DecoderKind) -> None:
    config = of_kind(kind, resblock="2")
    with torch.device("meta"):
        state = Synthesizer(config, AudioConfig()).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    assert shapes == synthesizer_inventory(config)


def test_without_posterior_only_its_tensors_are_missing() -> None:
    with torch.device("meta"):
        state = Synthesizer(SynthesizerConfig(), AudioConfig(), posterior=False).state_dict()
    whole = synthesizer_inventory(SynthesizerConfig())
    assert set(whole) - set(state) == {name for name in whole if name.startswith("enc_q.")}


def test_discriminator_has_the_tensors_of_published_models() -> None:
    with torch.device("meta"):
        discriminator = Discriminator(DiscriminatorConfig())
    state = discriminator.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    assert shapes == discriminator_inventory()
    assert len(state) == 111
    assert sum(p.numel() for p in discriminator.parameters()) == 46_747_132
