#!/usr/bin/env bash
# All measurements of a machine with one GPU in one call of at most twelve minutes: see benchmarks/gpu_session.py.
#
#   bash benchmarks/gpu_session.sh [--output FOLDER] [--dry]
#
# PYTHON names the interpreter; by default that of .venv, or python3.
set -u
cd "$(dirname "$0")/.." || exit 2
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    [ -x .venv/bin/python ] && PYTHON=.venv/bin/python
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
exec "$PYTHON" -m benchmarks.gpu_session "$@"
