"""Stages of so-vits-svc-fork 4.2.30; run in its own venv, inside the work folder.

python fork_side.py make | STAGE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import soundfile
import torch
from stage_clock import report

RATE, SECONDS = 44_100, 10
PRESETS = {"hifi-gan": "so-vits-svc-4.0v1", "ms-istft": "quickvc"}


def make() -> None:
    """Write a clip, a random HuBERT of ContentVec's shape, and a random generator of each kind."""
    import so_vits_svc_fork
    from so_vits_svc_fork.modules.synthesizers import SynthesizerTrn
    from transformers import HubertConfig, HubertModel

    t = np.arange(SECONDS * RATE) / RATE
    phase = 2 * np.pi * np.cumsum(220 * 2 ** (0.05 * np.sin(35 * t))) / RATE
    wave = sum(np.sin(k * phase) / k for k in range(1, 20))
    soundfile.write("clip.wav", 0.2 * wave * (t % 5 < 4.6), RATE)
    torch.manual_seed(0)
    HubertModel(HubertConfig()).save_pretrained("lengyue233/content-vec-best")
    templates = Path(so_vits_svc_fork.__file__).parent / "preprocessing" / "config_templates"
    for kind, preset in PRESETS.items():
        config = json.loads((templates / f"{preset}.json").read_text())
        config["spk"] = {"singer": 0}
        home = Path(kind)
        home.mkdir(exist_ok=True)
        (home / "config.json").write_text(json.dumps(config))
        network = SynthesizerTrn(1025, 20, **config["model"])
        content = {"model": network.state_dict(), "iteration": 1, "optimizer": None}
        torch.save(content | {"learning_rate": 1e-4}, home / "G_1.pth")


def main() -> None:
    """Time one stage."""
    torch.set_num_threads(1)
    stage, repeats = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 2
    if stage == "make":
        make()
        return
    from so_vits_svc_fork import f0, utils
    from so_vits_svc_fork.inference.core import Svc

    wave, _ = soundfile.read("clip.wav", dtype="float32")
    frames = len(wave) // 512
    if stage in PRESETS or stage == "convert":
        kind = "hifi-gan" if stage == "convert" else stage
        voice = Svc(net_g_path=f"{kind}/G_1.pth", config_path=f"{kind}/config.json", device="cpu")
    with torch.no_grad():
        if stage == "content":
            hubert = utils.get_hubert_model("cpu", final_proj=False)

            def work() -> object:
                return utils.get_content(hubert, wave, "cpu", RATE, legacy_final_proj=False)
        elif stage in PRESETS:
            content, pitch = torch.randn(1, 768, frames), torch.full((1, frames), 220.0)
            voiced, speaker = torch.ones(1, frames).long(), torch.LongTensor([[0]])

            def work() -> object:
                return voice.net_g.infer(
                    content, f0=pitch, g=speaker, uv=voiced, noice_scale=0.4, predict_f0=False
                )
        elif stage == "convert":

            def work() -> object:
                return voice.infer_silence(
                    wave, speaker=0, auto_predict_f0=False, f0_method="dio", db_thresh=-60
                )
        else:

            def work() -> object:
                return f0.compute_f0(
                    wave, p_len=frames, sampling_rate=RATE, hop_length=512, method=stage
                )

        report(stage, work, SECONDS, repeats)


if __name__ == "__main__":
    main()
