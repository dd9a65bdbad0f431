#!/bin/bash
# Installs the Debian packages that a purpose needs and that are missing: install.sh build|test|demo
#
# Does nothing, not even `apt-get update`, when all are there. RUSHES_NO_INSTALL=1 skips it altogether.
set -euo pipefail

purpose=${1:-build}

# FFmpeg's and GStreamer's headers, and libclang, by which the Rust bindings read FFmpeg's.
build=(build-essential pkg-config clang libclang-dev
  libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libgstrtspserver-1.0-dev
  libavcodec-dev libavformat-dev libavutil-dev libswscale-dev)
# What the server loads when it runs: RTSP and RTP (good), parsers (bad).
run=(gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad)
# The tests' clients: FFmpeg, GStreamer with its encoder (ugly), decoder (libav), RTSP publisher and WebRTC (nice, and Debian's
# Python by which it is led), a real browser, curl.
tests=(ffmpeg gstreamer1.0-tools gstreamer1.0-plugins-ugly gstreamer1.0-libav gstreamer1.0-rtsp gstreamer1.0-nice python3-gi
  gir1.2-gst-plugins-bad-1.0 python3-venv chromium curl)

case $purpose in
  build) want=("${build[@]}" "${run[@]}") ;;
  demo) want=("${build[@]}" "${run[@]}" ffmpeg) ;;
  test) want=("${build[@]}" "${run[@]}" "${tests[@]}") ;;
  *) echo "usage: install.sh build|test|demo" >&2; exit 2 ;;
esac

say() { echo "install: $*" >&2; }
# Node for the console's pages: whoever brings their own (nvm, nodesource) keeps it.
node_major() { node --version 2>/dev/null | sed -n 's/^v\([0-9]*\)\..*/\1/p'; }
major=$(node_major || true)
if [ "${major:-0}" -lt 18 ] || ! command -v npm >/dev/null; then want+=(nodejs npm); fi

if ! command -v cargo >/dev/null; then
  if [ -x "$HOME/.cargo/bin/cargo" ]; then
    say "Rust is in ~/.cargo/bin, which is not in PATH; run: . \"\$HOME/.cargo/env\""
  else
    say "Rust is missing; get it from https://rustup.rs: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
  fi
  exit 1
fi

if [ "${RUSHES_NO_INSTALL:-}" = 1 ]; then exit 0; fi

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  say "this is not Debian or Ubuntu. Please install what these packages hold, then run with RUSHES_NO_INSTALL=1:"
  printf '  %s\n' "${want[@]}" >&2
  exit 1
fi

missing=()
for package in "${want[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  if [ "$status" != installed ]; then missing+=("$package"); fi
done
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    say "these packages are missing, and neither root nor sudo is at hand. Have somebody run:"
    echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi

say "for '$purpose', ${#missing[@]} packages are missing: ${missing[*]}"
say "updating the package lists"
"${as_root[@]}" apt-get update -qq
say "installing (one to two minutes)"
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
  -o Dpkg::Use-Pty=0 -o Dpkg::Progress-Fancy=0 "${missing[@]}"
say "done"

major=$(node_major || true)
if [ "${major:-0}" -lt 18 ]; then
  say "Node ${major:-none} is too old for the console's build; 18 or newer is needed (Debian 12 has 18)"
  exit 1
fi
