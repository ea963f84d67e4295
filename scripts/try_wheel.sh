#!/usr/bin/env bash
# The wheel alone: a new environment, an empty folder, and the first commands of the README.
#
#   scripts/try_wheel.sh WHEEL
#
#   VENV=DIR         the environment, made anew  (default: a temporary one)
#   PYTHON=python3   the interpreter it is made with
#   TORCH_INDEX=URL  where torch comes from; nothing else comes from there
#   CONSTRAINTS=FILE versions                    (default: whatever pip finds)
set -euo pipefail
wheel=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${VENV:-$work/venv}
rm -rf "$venv"
"${PYTHON:-python3}" -m venv "$venv"
venv=$(cd "$venv" && pwd)
export PIP_DISABLE_PIP_VERSION_CHECK=1
if [ -n "${CONSTRAINTS:-}" ]; then export PIP_CONSTRAINT=$CONSTRAINTS; fi
# torch first and by itself: any other package's requirement would take the newest build.
"$venv/bin/python" -m pip install -q torch ${TORCH_INDEX:+--index-url "$TORCH_INDEX"}
"$venv/bin/python" -m pip install -q "$wheel"

unset PYTHONPATH
export PATH=$venv/bin:$PATH XDG_CACHE_HOME=$work/cache
mkdir "$work/empty"
cd "$work/empty"
set -x
pytest-injectivity audit builtin:gpt2-stdlib --max-prompts=24 --layers=2,norm --no-html --no-cache
pytest-injectivity init
pytest injectivity -q --precisions=bfloat16 --injx-max-prompts=50 --injx-layers=2,norm -k "collisions or margin"
pytest-injectivity calibrate builtin:gpt2-stdlib --dtype=bfloat16 --samples=2 --size=10
