"""Latency to the sample, through PortAudio, on a JACK server that has no sound card."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from ctypes.util import find_library
from pathlib import Path

import pytest

RATE, PERIOD, BLOCK, SECONDS = 48_000, 256, 0.04, 5.0
MOST_XRUNS = 100  # of about 900 periods; a loaded machine was seen to have 347
SIDE = Path(__file__).with_name("jack_side.py")


@pytest.fixture
def jack_server() -> Iterator[dict[str, str]]:
    """Return the variables that lead to a server."""
    if shutil.which("jackd") is None or find_library("portaudio") is None:
        pytest.skip("there is no JACK server or no PortAudio: apt install jackd2 libportaudio2")
    if not all(importlib.util.find_spec(name) for name in ("jack", "sounddevice")):
        pytest.skip("JACK-Client or sounddevice is missing")
    name = f"sovits-test-{os.getpid()}"
    words = ["jackd", "-n", name, "-r", "-d", "dummy", "-r", str(RATE), "-p", str(PERIOD)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(1.5)
        if server.poll() is not None:
            pytest.skip("jackd does not run here")
        yield {"JACK_NO_START_SERVER": "1", "JACK_DEFAULT_SERVER": name}
    finally:
        server.terminate()
        server.wait(10)


def test_the_latency_of_real_streams_is_constant_to_the_sample(
    jack_server: dict[str, str],
) -> None:
    words = [sys.executable, str(SIDE), str(RATE), str(BLOCK), str(SECONDS)]
    done = subprocess.run(
        words,
        env=os.environ | jack_server,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    late = told["late"]
    assert len(late) >= 6
    usual, count = Counter(late).most_common(1)[0]
    if not (told["misses"] or told["xruns"]):
        assert count == len(late)
    if told["xruns"] > MOST_XRUNS:  # PortAudio's own thread did not run: nothing of ours to judge
        pytest.skip(f"this machine is too busy: {told['xruns']} times JACK was not served in time")
    # A machine that is busy misses blocks; what is played then is in time nevertheless.
    assert count >= 0.7 * len(late), told
    period = RATE // 4
    stated = told["latency"] * RATE % period
    assert abs((usual - stated + period / 2) % period - period / 2) <= 4 * PERIOD, told
