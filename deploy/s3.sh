#!/bin/bash
# The S3 server of the tests, in target/tools; prints where it is. Built once, from source: see
# docs/decisions/s3-server-for-tests.md.
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/go.sh
version=v1.8.0
server=$tools/versitygw-$version
if [ ! -x "$server" ]; then
  go_in "$tools/build"
  "$go" install -trimpath -ldflags='-s -w' "github.com/versity/versitygw/cmd/versitygw@$version" >&2
  mv "$work/bin/versitygw" "$server"
fi
echo "$server"
