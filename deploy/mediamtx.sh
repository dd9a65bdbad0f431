#!/bin/bash
# The MediaMTX that `make bench` holds viewers by WebRTC against, in target/tools; prints where it is. Built once, from
# source.
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/go.sh
version=v1.20.1
server=$tools/mediamtx-$version
if [ ! -x "$server" ]; then
  go_in "$tools/build-mediamtx"
  (cd "$work" && "$go" mod download "github.com/bluenviron/mediamtx@$version" >&2)
  cp -r "$work/path/pkg/mod/github.com/bluenviron/mediamtx@$version" "$work/source"
  # Two files that its releases generate. Its page for HLS is not used here, and so without a player.
  echo "$version" > "$work/source/internal/core/VERSION"
  echo "// none" > "$work/source/internal/servers/hls/hls.min.js"
  (cd "$work/source" && "$go" build -trimpath -ldflags='-s -w' -o "$work/mediamtx" . >&2)
  mv "$work/mediamtx" "$server"
fi
echo "$server"
