#!/usr/bin/env bash
# Creates the virtual environment in $1 with every locked dependency and this checkout in it. Says what it does; may be run again.
set -euo pipefail
venv=$1
python=${PYTHON:-python3}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "execpos needs Python 3.11 or later; $("$python" --version 2>&1 || echo "no $python found"). Set PYTHON to one." >&2
  exit 4
fi

# Debian splits venv and pip from python3.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  version=$("$python" -c 'import sys; print(f"{sys.version_info.major}.{sys.version_info.minor}")')
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing python$version-venv" >&2
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "python$version-venv" >&2
  else
    echo "Python has no venv module: install it (Debian: apt-get install python$version-venv) and try again." >&2
    exit 4
  fi
fi

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
echo "installing the locked dependencies into $venv (about a minute the first time)" >&2
pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps)
"${pip[@]}" --require-hashes --requirement requirements.lock
# The broker's library has a lock of its own, because its older patch releases are taken from the index: then the newest one of the line it is,
# which the broker promises to be compatible and tests/contract/broker checks.
if ! "${pip[@]}" --require-hashes --requirement requirements-shioaji.lock; then
  echo "the locked shioaji is not on the index any more: taking the newest 1.7, unlocked; \`make lock\` locks it" >&2
  "${pip[@]}" 'shioaji>=1.7.6,<1.8'
fi
"${pip[@]}" --no-build-isolation --editable .
# Without a compiler the same is done in Python.
bash deploy/native.sh "$venv" || true
