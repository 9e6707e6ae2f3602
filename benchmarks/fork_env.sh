#!/bin/sh
# Make .bench/fork: so-vits-svc-fork 4.2.30 in a venv of its own, with the constraints that it
# needs today. Nothing of it is part of this project.
set -eu
cd "$(dirname "$0")/.."
ENV=.bench/fork
[ -f "$ENV/installed" ] && exit 0
mkdir -p .bench
rm -rf "$ENV"
"${PYTHON:-python3}" -m venv "$ENV"
printf 'torch==2.13.0\nsetuptools<81\nnumpy<2.3\n' > .bench/constraints.txt
pip() { "$ENV/bin/python" -m pip --disable-pip-version-check -q "$@"; }
pip install -c .bench/constraints.txt 'setuptools<81' wheel torch
pip install -c .bench/constraints.txt so-vits-svc-fork==4.2.30
# Its torchaudio is built for CUDA, and stops every import on a machine without.
find "$ENV" -path '*torchaudio/lib/*.so' -delete
if ! ldconfig -p | grep -q libportaudio && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends libportaudio2
fi
touch "$ENV/installed"
