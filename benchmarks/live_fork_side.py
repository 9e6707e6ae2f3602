"""Live conversion by so-vits-svc-fork 4.2.30; run in its own venv, inside the work folder.

python live_fork_side.py 1-BLOCK | 2-BLOCK
"""

from __future__ import annotations

import json
import logging
import sys

import torch
from live_clip import RATE, feed


def main() -> None:
    """Feed the clip to one of its two algorithms, and print what it costs as JSON."""
    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)
    from so_vits_svc_fork.inference.core import RealtimeVC, RealtimeVC2, Svc

    kind, _, block = sys.argv[1].partition("-")
    voice = Svc(net_g_path="hifi-gan/G_1.pth", config_path="hifi-gan/config.json", device="cpu")
    asked = {"speaker": 0, "transpose": 0, "auto_predict_f0": False, "f0_method": "dio"}
    if kind == "1":
        # Its graphical page: the preset for a GTX 1060.
        live = RealtimeVC(
            svc_model=voice,
            crossfade_len=round(0.05 * RATE),
            additional_infer_before_len=round(0.15 * RATE),
            additional_infer_after_len=round(0.1 * RATE),
        )
        asked |= {"db_thresh": -35, "pad_seconds": 0.1}
    else:
        live = RealtimeVC2(svc_model=voice)
        asked |= {"db_thresh": -30}
    with torch.no_grad():
        print(json.dumps(feed(lambda wave: live.process(wave, **asked), float(block))), flush=True)


if __name__ == "__main__":
    main()
