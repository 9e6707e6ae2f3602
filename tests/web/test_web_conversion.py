"""What comes back by HTTP is what svc infer writes, and nothing that is sent can do harm."""

from __future__ import annotations

import io
import json
import pickle
import time
import wave
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from fastapi.testclient import TestClient
from made_server import serving, stranger

import sovits
from sovits.cli import main

SPEECH = Path(sovits.__file__).parents[1] / "examples" / "speech.flac"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server with a real process, of which the first conversion is the slowest."""
    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HF_HUB_CACHE", str(folder / "hub"))
        patch.setenv("OMP_NUM_THREADS", "1")
        with serving(folder / "jobs", max_seconds=90.0, device="cpu") as client:
            yield client


def send(client: TestClient, sound: bytes, name: str = "x.wav", **options: str) -> dict[str, str]:
    """Convert a sound that cannot be converted, and return the answer."""
    answer = client.post(
        "/v1/convert?wait=60", files={"audio": (name, sound)}, data={"voice": "heart", **options}
    )
    assert answer.status_code == 422, answer.text
    assert not Path.cwd().name or str(Path.cwd()) not in answer.text
    return dict(answer.json())


def test_the_result_is_that_of_svc_infer(client: TestClient, tmp_path: Path) -> None:
    speech, rate = sovits.read(SPEECH)
    source = tmp_path / "speech.wav"
    sovits.write(source, speech[:, : 2 * rate], rate)
    torch.set_num_threads(1)
    assert main(["infer", str(source), "-m", "heart", "-t", "3", "-d", "cpu"]) == 0
    answer = client.post(
        "/v1/convert?wait=60",
        files={"audio": ("../../evil/speech.wav", source.read_bytes())},
        data={"voice": "heart", "semitones": "3", "speaker": ""},
    )
    assert answer.status_code == 200, answer.text
    assert answer.content == source.with_name("speech.out.wav").read_bytes()
    assert answer.headers["content-disposition"] == 'attachment; filename="speech.out.wav"'
    job = answer.headers["x-job"]
    told = client.get(f"/v1/jobs/{job}").json()
    assert (told["state"], told["progress"], told["name"]) == ("done", 1.0, "speech.wav")
    assert told["options"] == {"semitones": 3}
    assert client.get(f"/v1/jobs/{job}/result").content == answer.content
    log = client.get(f"/v1/jobs/{job}/log").text
    assert "Converting 2.0 s" in log
    assert "Done." in log
    assert client.get("/v1/jobs").json() == [told]


def test_the_example_of_the_guide_runs(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    guide = (Path(sovits.__file__).parents[1] / "docs" / "guide.md").read_text("utf-8")
    example = guide.partition("```py\n")[2].partition("```")[0]
    speech, rate = sovits.read(SPEECH)
    sovits.write("song.wav", speech[:, :rate], rate)
    monkeypatch.setattr("httpx2.Client", lambda base_url: nullcontext(stranger(client)))
    names: dict[str, bytes] = {}
    exec(compile(example, "guide.md", "exec"), names)
    assert names["sound"].startswith(b"RIFF")
    assert "event: end" in capsys.readouterr().out


def test_sounds_that_are_none_are_refused_and_run_nothing(
    client: TestClient, tmp_path: Path
) -> None:
    marker = tmp_path / "run"

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (marker,)

    secret = tmp_path / "secret.wav"
    sovits.write(secret, torch.rand(1, 8000) - 0.5, 8000)
    playlist = f"#EXTM3U\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    for sound in (pickle.dumps(Evil()), playlist.encode(), f"ffconcat\nfile {secret}".encode()):
        error = send(client, sound, "voice.pth")["error"]
        assert error.startswith("The sound"), error
        assert "secret" not in error
    assert "The sound is empty" in send(client, b"")["error"]
    assert not marker.exists()


def test_sounds_that_are_too_long_are_refused(client: TestClient) -> None:
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(b"\x80" * 8000 * 91)
    assert "lasts longer than 90 s" in send(client, held.getvalue())["error"]


def test_what_only_the_voice_can_tell_is_told(client: TestClient) -> None:
    held = io.BytesIO()
    sovits.write(tone := Path.cwd() / "tone.wav", torch.rand(1, 8000) - 0.5, 8000)
    held.write(tone.read_bytes())
    error = send(client, held.getvalue(), speaker="nobody")["error"]
    assert "nobody" in error
    error = send(client, held.getvalue(), retrieval_ratio="0.5")["error"]
    assert "index.safetensors" in error
    assert "/" not in error.replace("and/or", "")


def test_a_conversion_under_way_can_be_cancelled(client: TestClient) -> None:
    time_axis = torch.arange(60 * 16_000) / 16_000
    tone = sum(torch.sin(2 * torch.pi * 200 * k * time_axis) / k for k in range(1, 9)) / 4
    path = Path.cwd() / "long.wav"
    sovits.write(path, torch.as_tensor(tone)[None], 16_000)
    answer = client.post("/v1/convert", files={"audio": path.read_bytes()}, data={"voice": "heart"})
    job, until = answer.json()["id"], time.monotonic() + 30
    while "Converting" not in client.get(f"/v1/jobs/{job}/log").text:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert client.get(f"/v1/jobs/{job}").json()["state"] == "running"
    assert client.post(f"/v1/jobs/{job}/cancel").json()["state"] == "cancelled"
    left = [file.name for file in (Path.cwd() / "jobs" / "files" / job).iterdir()]
    assert left == ["log"]
    events = client.get(f"/v1/jobs/{job}/events").text
    kind, data = events.strip().splitlines()
    assert kind == "event: end"
    assert json.loads(data.removeprefix("data: "))["state"] == "cancelled"
