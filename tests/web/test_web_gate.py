"""Strangers, pages of other sites, floods and forms that mean harm are refused in one line."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from made_server import SOUND, Puppet, ask, serving, stranger
from starlette.requests import Request
from starlette.types import Message

from sovits.errors import ServerError
from sovits.web.settings import ServerSettings
from sovits.web.store import Store
from sovits.web.upload import Uploads

TOKEN = "correct-horse-battery"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


@pytest.fixture
def client(here: Path) -> Iterator[TestClient]:
    with serving(here / "jobs", Puppet(), max_upload_bytes=1000) as client:
        yield client


def refused(answer: Any, status: int) -> str:
    """Return the one line that an answer has."""
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    error = str(answer.json()["error"])
    assert len(error.splitlines()) == 1
    return error


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7865", "192.168.1.7", "127.0.0.1.evil.example", "[", ""]
)
def test_other_names_are_refused(client: TestClient, host: str) -> None:
    error = refused(client.get("/healthz", headers={"host": host}), 403)
    assert "not known by this name" in error


@pytest.mark.parametrize("host", ["localhost:7865", "127.0.0.1", "[::1]:80", "127.1.2.3"])
def test_names_of_this_machine_are_taken(client: TestClient, host: str) -> None:
    assert client.get("/healthz", headers={"host": host}).json()["status"] == "ok"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8000"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_pages_of_others_are_refused(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post("/v1/convert", files=SOUND, data={"voice": "heart"}, headers=headers)
    assert "page of another site" in refused(answer, 403)
    assert client.get("/v1/jobs").json() == []


def test_own_pages_are_taken(client: TestClient) -> None:
    headers = {"origin": "http://127.0.0.1:7865", "sec-fetch-site": "same-origin"}
    answer = client.post("/v1/convert", files=SOUND, data={"voice": "heart"}, headers=headers)
    assert answer.status_code == 202
    assert "access-control-allow-origin" not in answer.headers


def test_a_token_is_asked_for(here: Path) -> None:
    with serving(here / "jobs", Puppet(), token=TOKEN, host="0.0.0.0") as client:
        assert client.get("/healthz").status_code == 200
        for told in ("", "Bearer", f"Basic {TOKEN}", "Bearer wrong", f"Bearer {TOKEN}x"):
            for path in ("/v1/voices", "/openapi.json", "/nowhere"):
                answer = client.get(path, headers={"authorization": told})
                assert "token is missing or wrong" in refused(answer, 401)
                assert answer.headers["www-authenticate"] == "Bearer"
        right = {"authorization": f"Bearer {TOKEN}"}
        assert client.get("/v1/voices", headers=right).status_code == 200
        # Addresses cannot be pointed elsewhere, and names can.
        assert client.get("/v1/voices", headers=right | {"host": "10.1.2.3:80"}).status_code == 200
        refused(client.get("/v1/voices", headers=right | {"host": "evil.example"}), 403)


def test_other_machines_need_a_token_that_cannot_be_guessed(here: Path) -> None:
    for host in ("0.0.0.0", "::", "studio.example", "192.168.1.7"):
        with pytest.raises(ServerError, match="so a token is needed"):
            ServerSettings(folder=here, host=host)
    for token in ("short", "with spaces in between", "naïve-naïve-naïve"):
        with pytest.raises(ServerError, match="at least 16 characters"):
            ServerSettings(folder=here, token=token)
    for host in ("::1", "127.0.0.2", "localhost"):
        assert ServerSettings(folder=here, host=host).is_local


def test_floods_are_refused(here: Path) -> None:
    with serving(here / "jobs", Puppet(), burst=5, requests_per_second=0.01) as client:
        assert [client.get("/healthz").status_code for _ in range(7)] == [200] * 5 + [429] * 2
        assert "too much at once" in refused(client.get("/v1/voices"), 429)


def test_bodies_that_are_too_large_are_refused_before_they_are_read(client: TestClient) -> None:
    for length in ("10000000000", "9" * 30, "-1", "0x10"):
        answer = client.post("/v1/convert", content=b"", headers={"content-length": length})
        assert "more than 0.001 MB" in refused(answer, 413)


def test_bodies_of_unknown_length_are_refused_when_they_grow_too_large(
    client: TestClient, here: Path
) -> None:
    def body() -> Iterator[bytes]:
        yield b'--x\r\ncontent-disposition: form-data; name="audio"; filename="x"\r\n\r\n'
        for _ in range(20):
            yield bytes(100_000)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    refused(client.post("/v1/convert", content=body(), headers=headers), 413)
    assert list((here / "jobs" / "files").iterdir()) == []


def test_a_form_is_needed(client: TestClient) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    for answer in (
        client.post("/v1/convert", content=b"no form at all", headers=headers),
        client.post("/v1/convert", content=b"x", headers={"content-type": "multipart/form-data"}),
        client.post("/v1/convert", files=[("audio", b"a"), ("audio", b"b")]),
    ):
        assert "A form (multipart/form-data) is needed" in refused(answer, 400)
    for answer in (
        client.post("/v1/convert"),
        client.post("/v1/convert", json={"audio": "/etc/passwd", "voice": "heart"}),
        client.post("/v1/convert", data={"audio": "/etc/passwd", "voice": "heart"}),
    ):
        assert "The form has no audio" in refused(answer, 400)
    assert "has no voice" in refused(client.post("/v1/convert", files=SOUND), 400)
    fields = SOUND | {"semitones": ("3", b"3")}
    answer = client.post("/v1/convert", files=[*fields.items()], data={"voice": "heart"})
    assert "A form" in refused(answer, 400)


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        ({"mix": "/etc/passwd"}, 400, "mix names a file"),
        ({"retrieval": "https://evil.example/x"}, 400, "retrieval names a file"),
        ({"refiner": "model.pt"}, 400, "refiner names a file"),
        ({"refiner_config": "x.yaml"}, 400, "refiner_config names a file"),
        ({"vocoder": "../../x"}, 400, "vocoder names a file"),
        ({"voice": "/etc/passwd"}, 404, "There is no such voice. It may be: heart, kumo."),
        ({"voice": "../heart"}, 404, "There is no such voice"),
        ({"voice": "hub:evil/voice"}, 404, "There is no such voice"),
        ({"voice": "https://evil.example/v.pth"}, 404, "There is no such voice"),
        ({"voice": "heart\x00"}, 404, "There is no such voice"),
        ({"semitone": "3"}, 422, "There is no setting semitone. Did you mean semitones?"),
        ({"semitones": "high"}, 422, "semitones is 'high', but must be of type float."),
        ({"semitones": "NaN"}, 422, "semitones is nan, but must be between"),
        ({"semitones": "9" * 5000}, 422, "semitones is '999"),
        ({"semitones": "[" * 9999}, 422, "semitones is '[[["),
        ({"seed": "1.5"}, 422, "seed is 1.5, but must be of type int."),
        ({"f0_method": "crep"}, 422, "There is no pitch method crep. Did you mean crepe?"),
        ({"auto_f0": "yes"}, 422, "auto_f0 is 'yes', but must be of type bool."),
        ({"stereo": "left"}, 422, "stereo is 'left', but must be one of mono, side, both."),
    ],
)
def test_forms_that_cannot_be_meant_are_refused(
    client: TestClient, data: dict[str, str], status: int, words: str
) -> None:
    answer = client.post("/v1/convert", files=SOUND, data={"voice": "heart"} | data)
    assert refused(answer, status).startswith(words)
    assert client.get("/v1/jobs").json() == []


def test_a_field_is_given_once(client: TestClient) -> None:
    answer = client.post("/v1/convert", files=SOUND, data={"voice": ["heart", "kumo"]})
    assert "'voice' is set twice" in refused(answer, 422)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/jobs/..%2f..%2fjobs.sqlite/result",
        "/v1/jobs/%2e%2e/log",
        "/v1/jobs/abc/result",
        "/v1/jobs/0123456789abcdef0123456789abcdef/log",
        "/v1/jobs/0123456789abcdef0123456789abcdef%00/events",
        "/v1/voices/..%2f..%2fetc%2fpasswd",
        "/v1/voices/%2fetc%2fpasswd",
        "/v1/voices/" + "x" * 500,
        "/files/../jobs.sqlite",
    ],
)
def test_paths_lead_nowhere(client: TestClient, path: str) -> None:
    answer = client.get(path)
    error = refused(answer, answer.status_code)
    assert answer.status_code in (404, 422)
    assert "passwd" not in error


def test_addresses_and_methods_that_are_not_there(client: TestClient) -> None:
    assert "/openapi.json has all" in refused(client.get("/v2"), 404)
    assert "/openapi.json has all" in refused(client.put("/v1/jobs"), 405)
    answer = client.post("/v1/convert?wait=long", files=SOUND, data={"voice": "heart"})
    assert "'wait' is not understood" in refused(answer, 422)


def test_names_of_sounds_are_for_show(client: TestClient, here: Path) -> None:
    for name, shown in (
        ("../../../etc/passwd", "passwd"),
        ("C:\\Windows\\x.wav", "x.wav"),
        ("歌.wav", "歌.wav"),
        ("..", ".."),
        ("/", "sound"),
        ("x" * 300, "x" * 80),
    ):
        answer = client.post("/v1/convert", files={"audio": (name, b"x")}, data={"voice": "heart"})
        assert answer.json()["name"] == shown
    assert {path.name for path in here.iterdir()} == {"jobs"}
    for path in (here / "jobs" / "files").iterdir():
        assert [file.name for file in path.iterdir()] == ["sound"]


def test_no_more_is_taken_than_there_is_room_for(here: Path) -> None:
    def answer(**settings: Any) -> str:
        with serving(here / "jobs", Puppet(), **settings) as client:
            form = client.post("/v1/convert", files=SOUND, data={"voice": "heart"})
            return refused(form, 429)

    assert "0 sounds are on their way in" in answer(max_uploads=0)
    assert "0 jobs of all wait already" in answer(max_waiting=0)
    assert "0 jobs of yours wait already" in answer(max_waiting_each=0)
    assert "fill the 1 GB that they may" in answer(
        max_stored_bytes=10**9, max_upload_bytes=2 * 10**9
    )
    worker = Puppet()
    with serving(here / "jobs", worker, max_waiting_each=2) as ann:
        ben = stranger(ann)
        for client in (ann, ben):  # who have a session from then on
            ask(client)
        for client in (ann, ben):
            ask(client), ask(client)
            form = client.post("/v1/convert", files=SOUND, data={"voice": "heart"})
            assert "2 jobs of yours wait already" in refused(form, 429)


def test_many_at_once_are_not_too_many(here: Path) -> None:
    def send(client: TestClient) -> int:
        return client.post("/v1/convert", files=SOUND, data={"voice": "heart"}).status_code

    worker = Puppet()
    with serving(here / "jobs", worker, max_waiting_each=3) as client:
        ask(client)
        worker.take()
        with ThreadPoolExecutor(20) as threads:
            codes = list(threads.map(send, [stranger(client) for _ in range(20)]))
        assert sorted(codes) == [202] * 3 + [429] * 17
        kept = {path.name for path in (here / "jobs" / "files").iterdir()}
        assert len(kept) == 4
        assert client.get("/healthz").status_code == 200


def test_sounds_that_trickle_in_are_not_waited_for(here: Path) -> None:
    settings = ServerSettings(folder=here / "jobs", upload_seconds=0.1)
    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    scope = {"type": "http", "method": "POST", "headers": headers}
    head = b'--x\r\ncontent-disposition: form-data; name="audio"; filename="x"\r\n\r\n'
    with Store(settings.folder) as store:
        uploads = Uploads(store, settings)
        for _ in range(settings.max_uploads + 1):  # each makes room for the next
            body = chain([head], repeat(b"0"))

            async def trickle(body: Iterator[bytes] = body) -> Message:
                await asyncio.sleep(0.02)
                return {"type": "http.request", "body": next(body), "more_body": True}

            with pytest.raises(ServerError, match=r"was not there within 0\.1 s") as told:
                asyncio.run(uploads.take(Request(scope, trickle), "session", "turn"))
            assert told.value.status == 408


def test_voices_tell_no_paths(client: TestClient, here: Path) -> None:
    (here / "logs").mkdir()
    (here / "logs" / "broken one.safetensors").write_bytes(b"nothing that is one" * 10)
    told = client.get("/v1/voices").json()
    assert [voice["id"] for voice in told[:2]] == ["heart", "kumo"]
    assert str(here) not in str(told)
    broken = told[2]
    assert broken["name"] == "broken one"
    assert broken["problem"].startswith("broken one.safetensors")
    card = client.get(f"/v1/voices/{broken['id']}").json()
    assert card == broken | {"card": {}}
    answer = client.post("/v1/convert", files=SOUND, data={"voice": broken["id"]})
    assert "The voice broken one cannot be used" in refused(answer, 409)
    heart = client.get("/v1/voices/heart").json()
    assert heart["card"]["licence"] == heart["licence"] == "CC-BY-SA-4.0"
