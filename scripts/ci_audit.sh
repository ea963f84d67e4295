#!/usr/bin/env bash
# What CI runs, by hand as well: action.yml calls it, and any other CI can.
#
#   scripts/ci_audit.sh install    torch first, then this package and its extras
#   scripts/ci_audit.sh audit      the suite; writes the reports and ends with pytest's exit status
#
# Everything is given by environment variables, so that no text becomes a part of a command:
#
#   INJX_MODEL INJX_REFERENCE INJX_QUANTIZATION INJX_PROMPTS INJX_LAYERS    the flags of these names
#   INJX_SUITE       tests, a file or folder   (default: this project's example_suites/quantization_gate)
#   INJX_ARGS        further arguments of pytest, quoted as in a shell
#   INJX_REPORTS     folder for the reports: page.html, report.json, summary.md, junit.xml, annotations.txt
#                    (default: injectivity)
#   INJX_CACHE_DIR   keeps hidden states between runs                      (default: nothing is kept)
#   INJX_EXTRAS      extras to install, such as bnb,xdist
#   TORCH_INDEX      where torch comes from                                (default: PyPI)
#   PYTHON           the interpreter                                       (default: python)
set -euo pipefail
home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python}

refuse() { echo "$1" >&2; exit 4; }

install() {
    case ${INJX_EXTRAS:-} in *[!a-z0-9,-]*) refuse "INJX_EXTRAS: give names of extras, such as bnb,xdist" ;; esac
    # Both, because pip builds this package in an environment of its own.
    export PIP_CONSTRAINT=$home/constraints.txt PIP_BUILD_CONSTRAINT=$home/constraints.txt
    # torch by itself: any other package's requirement would take the newest build, with CUDA.
    "$python" -m pip install torch ${TORCH_INDEX:+--index-url "$TORCH_INDEX"}
    "$python" -m pip install "$home[html${INJX_EXTRAS:+,$INJX_EXTRAS}]"
}

flag() { if [ -n "$2" ]; then arguments+=("$1=$2"); fi; }

# Arguments of pytest, one for each part of INJX_ARGS.
split_args() {
    local split part
    split=$(mktemp)
    "$python" -c 'import os, shlex, sys
try:
    parts = shlex.split(os.environ.get("INJX_ARGS", ""))
except ValueError as error:
    sys.exit(f"INJX_ARGS: {error}")
sys.stdout.write("".join(part + "\0" for part in parts))' > "$split" || { rm "$split"; exit 4; }
    while IFS= read -r -d '' part; do arguments+=("$part"); done < "$split"
    rm "$split"
}

# GitHub's runner takes commands out of whatever a step prints. What pytest prints quotes models and
# prompts, so it is not listened to until a word is said that nobody can guess.
quietly() {
    local word status=0
    if [ "${GITHUB_ACTIONS:-}" != true ]; then "$@"; return; fi
    word=$("$python" -c 'import secrets; print(secrets.token_hex(16))')
    echo "::stop-commands::$word"
    "$@" || status=$?
    printf '\n::%s::\n' "$word"
    return "$status"
}

audit() {
    local reports=${INJX_REPORTS:-injectivity} status=0 verdict=error
    case $reports in *$'\n'* | *$'\r'*) refuse "INJX_REPORTS: the name of a folder has one line" ;; esac
    mkdir -p "$reports"
    rm -f "$reports"/{page.html,report.json,summary.md,junit.xml,annotations.txt}
    arguments=("${INJX_SUITE:-$home/example_suites/quantization_gate}" --injx-require)
    flag --injx-model "${INJX_MODEL:-}"
    flag --injx-reference "${INJX_REFERENCE:-}"
    flag --injx-quantization "${INJX_QUANTIZATION:-}"
    flag --injx-prompts "${INJX_PROMPTS:-}"
    flag --injx-layers "${INJX_LAYERS:-}"
    flag --injx-cache-dir "${INJX_CACHE_DIR:-}"
    if [ -z "${INJX_CACHE_DIR:-}" ]; then arguments+=(--injx-no-cache); fi
    split_args
    arguments+=("--junitxml=$reports/junit.xml" "--injx-report=json:$reports/report.json")
    arguments+=("--injx-report=markdown:$reports/summary.md" "--injx-report=html:$reports/page.html")
    arguments+=("--injx-report=annotations:$reports/annotations.txt")
    flag --injx-report "${GITHUB_STEP_SUMMARY:+markdown:$GITHUB_STEP_SUMMARY}"
    quietly "$python" -m pytest "${arguments[@]}" || status=$?

    if [ ! -e "$reports/summary.md" ]; then
        unstarted "$status" "$reports"
        if [ "$status" = 0 ]; then status=4; fi  # such as --collect-only: nothing is no success
    fi
    if [ "${GITHUB_ACTIONS:-}" = true ]; then cat "$reports/annotations.txt"; fi
    case $status in 0) verdict=green ;; 1) verdict=red ;; esac
    if [ -n "${GITHUB_OUTPUT:-}" ]; then
        printf '%s\n' "verdict=$verdict" "exit-status=$status" "reports=$reports" \
            "report-json=$reports/report.json" "summary=$reports/summary.md" "page=$reports/page.html" >> "$GITHUB_OUTPUT"
    fi
    return "$status"
}

# A flag that is not accepted is found before a test runs, and then there is no report.
unstarted() {
    local said="pytest ended with exit status $1 and judged nothing"
    echo "## ❌ Injectivity audit red: $said" | tee "$2/summary.md" >> "${GITHUB_STEP_SUMMARY:-/dev/null}"
    echo "::error title=pytest-injectivity::$said" > "$2/annotations.txt"
}

case ${1:-} in
install | audit) "$1" ;;
*) sed -n '2,17s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
