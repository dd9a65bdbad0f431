#!/bin/bash
# The nginx that `make bench` holds players against, in target/tools; prints where it is. Unpacked and not installed: a
# package that is installed starts a server on port 80.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$(realpath -m "${CARGO_TARGET_DIR:-target}/tools")
nginx=$tools/nginx/usr/sbin/nginx
if [ ! -x "$nginx" ]; then
  mkdir -p "$tools/nginx"
  (cd "$tools/nginx" && apt-get download -qq nginx >&2 && dpkg -x nginx_*.deb . && rm nginx_*.deb)
fi
"$nginx" -v 2>/dev/null
echo "$nginx"
