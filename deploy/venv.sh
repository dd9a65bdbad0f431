#!/bin/bash
# The Python environment of the end-to-end tests and figures, in target/venv; prints its python. Made anew when the
# pinned list changes.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${CARGO_TARGET_DIR:-target}/venv
stamp=$venv/requirements.txt
if ! cmp -s tests/requirements.txt "$stamp"; then
  rm -rf "$venv"
  mkdir -p "$(dirname "$venv")"
  python3 -m venv "$venv" >&2
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/requirements.txt >&2
  cp tests/requirements.txt "$stamp"
fi
echo "$venv/bin/python"
