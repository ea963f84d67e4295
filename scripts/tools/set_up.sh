#!/usr/bin/env bash
# Makes the environment of a tool that quantizes, .tools/NAME, from scripts/tools/NAME.txt, unless it is there.
# PYTHON and TORCH_INDEX as in ./dev; TOOLS=DIR for another folder than .tools.
set -euo pipefail
cd "$(dirname "$0")/../.."
NAME=${1:-}
LIST=scripts/tools/$NAME.txt
if [ -z "$NAME" ] || [ "$NAME" = torch ] || [ ! -f "$LIST" ]; then
    known=$(basename -s .txt scripts/tools/*.txt | grep -vx torch | paste -sd' ')
    echo "no tool '$NAME': one of $known" >&2
    exit 2
fi
FOLDER=${TOOLS:-.tools}/$NAME
wanted=$(cat scripts/tools/torch.txt "$LIST" | cksum)
if [ "$(cat "$FOLDER/.set-up" 2>/dev/null)" = "$wanted" ]; then exit 0; fi
echo "setting up $FOLDER (once)" >&2
export PIP_CONSTRAINT=$PWD/scripts/tools/torch.txt PIP_DISABLE_PIP_VERSION_CHECK=1
"${PYTHON:-python3}" -m venv --clear "$FOLDER"
"$FOLDER/bin/python" -m pip install -q --upgrade pip
# torch first and by itself, as in ./dev; then nothing may change it.
"$FOLDER/bin/python" -m pip install -q -r scripts/tools/torch.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"}
"$FOLDER/bin/python" -m pip install -q -r "$LIST"
# The tests of GPTQ and AWQ compare with it where they run: this project is beside it.
if [ "$NAME" = gptqmodel ]; then "$FOLDER/bin/python" -m pip install -q -e . --group test; fi
echo "$wanted" > "$FOLDER/.set-up"
