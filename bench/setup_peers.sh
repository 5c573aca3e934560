#!/usr/bin/env bash
# Makes the peers' environments, bench/.venvs/{peers,qpth}, with pip and pinned versions; `fastprox` as an
# argument makes that of bench_prox.py, which needs Python 3.12 or newer.
# PYTHON names the interpreter (3.11 or newer). Asks pip first what it would install, and stops if that
# includes CUDA libraries (gigabytes that a CPU benchmark does not need): point pip at CPU builds of
# torch, or set ALLOW_CUDA=1.
set -euo pipefail
cd "$(dirname "$0")"
if [[ -z ${PYTHON:-} ]]; then
  PYTHON=../.venv/bin/python
  [[ -x $PYTHON ]] || PYTHON=python3
fi
mkdir -p .venvs
echo '*' > .venvs/.gitignore

for name in "${@:-peers qpth}"; do for name in $name; do
  echo "bench/.venvs/$name"
  [[ -x .venvs/$name/bin/python ]] || "$PYTHON" -m venv ".venvs/$name"
  pip=(".venvs/$name/bin/python" -m pip install --quiet --disable-pip-version-check
       -r "requirements-$name.txt")
  plan=$("${pip[@]}" -qq --dry-run --report - --ignore-installed |
    "$PYTHON" -c 'import json, sys
for item in json.load(sys.stdin)["install"]: print(item["metadata"]["name"].lower())')
  if [[ ${ALLOW_CUDA:-0} != 1 ]] && grep -E '^(nvidia|cuda)-' <<< "$plan"; then
    echo "setup_peers.sh: torch would bring the CUDA libraries above; see the head of this file" >&2
    exit 1
  fi
  "${pip[@]}"
done; done
