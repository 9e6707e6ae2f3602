"""The description of the server is complete, and svc serve begins one."""

from __future__ import annotations

import importlib.util
import json
import signal
import socket
import subprocess
import sys
import urllib.request
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from made_server import Puppet, serving

import sovits
from sovits.choices import FILES, field_docs
from sovits.cli import main
from sovits.config import ConvertOptions


def test_all_is_described(tmp_path: Path) -> None:
    with serving(tmp_path / "jobs", Puppet()) as client:
        told = client.get("/openapi.json").json()
    operations = [
        (path, method, operation)
        for path, methods in told["paths"].items()
        for method, operation in methods.items()
    ]
    assert len(operations) == 11
    for path, _, operation in operations:
        assert operation["summary"], path
        assert "Problem" in str(operation["responses"]["4XX"])
        for parameter in operation.get("parameters", []):
            assert parameter["in"] == "query" or parameter["schema"]["examples"], path
    for name, schema in told["components"]["schemas"].items():
        assert {*schema["example"]} <= {*schema["properties"]}, name  # null is left out there
    guide = (Path(sovits.__file__).parents[1] / "docs" / "guide.md").read_text("utf-8")
    for path, method, operation in operations:
        assert f"| `{method.upper()} {path}` | {operation['summary']} |\n" in guide
    form = told["paths"]["/v1/convert"]["post"]["requestBody"]["content"]["multipart/form-data"]
    properties: dict[str, Any] = form["schema"]["properties"]
    options = {f.name: f.default for f in fields(ConvertOptions) if f.name not in FILES}
    assert list(properties) == ["audio", "voice", *options]
    for name, default in options.items():
        assert properties[name].get("default") == default
        assert properties[name]["description"] == field_docs(ConvertOptions)[name]
    assert properties["seed"]["type"] == "integer"
    assert properties["output_rate"]["type"] == "integer"
    assert properties["auto_f0"]["type"] == "boolean"
    assert properties["stereo"]["enum"] == ["mono", "side", "both"]


def test_the_shell_does_not_load_the_server_and_the_server_no_torch() -> None:
    check = (
        "import sys; from sovits.cli.parse import COMMANDS; from sovits.web.settings import *;"
        "assert not {'torch', 'fastapi', 'pydantic'} & set(sys.modules);"
        "import sovits.web.serve; assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], check=True)


def test_svc_serve_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sovits", "serve", "--port", "0", "--folder", "jobs"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().split()[-1]
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{address}/healthz", timeout=20) as answer:
            assert json.load(answer)["status"] == "ok"
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) in (0, 1, 130, -signal.SIGTERM)
    assert (tmp_path / "jobs" / "jobs.sqlite").is_file()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--host", "0.0.0.0"], "svc: --host 0.0.0.0 lets other machines in"),
        (["--token", "x"], "svc: A token needs at least 16 characters"),
        (["--port", "99999"], "svc: 127.0.0.1, port 99999, cannot be used"),
    ],
)
def test_mistakes_are_told_in_one_line(
    flags: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--folder", str(tmp_path / "jobs"), *flags]) == 1
    assert capsys.readouterr().err.startswith(words)


def test_a_port_that_is_taken_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", "--folder", str(tmp_path / "jobs"), "--port", port]) == 1
    assert f"127.0.0.1, port {port}, cannot be used (address already" in capsys.readouterr().err


def test_packages_that_are_missing_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sovits.cli.serve.find_spec", lambda name: None)
    assert importlib.util.find_spec("fastapi") is not None
    assert main(["serve"]) == 1
    assert capsys.readouterr().err.startswith("svc: svc serve needs fastapi")
