"""Time one stage in one process; shared by both sides, and without imports of either."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable


def report(stage: str, work: Callable[[], object], seconds: float, repeats: int) -> None:
    """Print CPU seconds per second of sound (least of `repeats`) and peak memory, as JSON."""
    work()  # the first call pays for what is made once
    times = []
    for _ in range(repeats):
        begun = time.process_time()
        work()
        times.append((time.process_time() - begun) / seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"stage": stage, "cpu": min(times), "peak_mb": peak}), flush=True)
