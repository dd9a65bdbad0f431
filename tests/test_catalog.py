"""The catalog backed up and put back, the master key changed: nothing that is in segments is lost, everything plays."""

import json
import shutil

import pytest

from support.m3u8 import fetch
from support.media import ffmpeg_publisher, publish
from support.server import run
from support.wait import wait_until

FLAGS = ("--set", "video.target_seconds=1")


def tool(*arguments, ok=True):
    r = run(*arguments)
    assert (r.returncode == 0) == ok, r
    return r.stdout if ok else r.stderr


def record(server, clip, name="door"):
    publish(ffmpeg_publisher(clip, server.publish_url(name)))
    server.quiet(name)


def positions(server, name="door"):
    return [f["position"] for f in server.fragments(name)]


@pytest.fixture
def recorded(serve, clips):
    server = serve("data", *FLAGS)
    record(server, clips(seconds=3))
    return server


def plays(server, name="door"):
    segments = fetch(server.http, server.whole(name)).segments
    assert segments and {server.http.get(s.uri).status_code for s in segments} == {200}
    return len(segments)


def test_backup_record_more_restore(recorded, clips, tmp_path):
    server, file = recorded, tmp_path / "catalog.backup"
    told = json.loads(tool("catalog", "backup", file, "--data", server.data, "--json"))
    assert told["bytes"] == file.stat().st_size and file.stat().st_mode & 0o77 == 0
    assert b"SQLite" not in file.read_bytes() and b"door" not in file.read_bytes()
    assert "exists" in tool("catalog", "backup", file, "--data", server.data, ok=False).lower()
    record(server, clips(seconds=3))
    record(server, clips(seconds=2), "late")
    before = positions(server)
    server.stop()
    segments = {f.name for f in (server.data / "segments").glob("*.seg")}

    # A whole catalog is not replaced by mistake; a lost one is asked for.
    assert "--force" in tool("catalog", "restore", file, "--data", server.data, ok=False)
    for f in server.data.glob("catalog.sqlite*"):
        f.unlink()
    r = run("serve", "--data", server.data, "--listen", "127.0.0.1:0", "--rtsp", "off", timeout=30)
    assert r.returncode == 1 and "catalog restore" in r.stderr, r
    assert not (server.data / "catalog.sqlite").exists()

    # And the journal is gone, too.
    shutil.rmtree(server.data / "journal")
    assert "restored" in tool("catalog", "restore", file, "--data", server.data)
    server.start()
    assert positions(server) == before
    assert plays(server) == len(before)
    assert [s["name"] for s in server.call("GET", "/v1/streams")["streams"]] == ["door"]
    record(server, clips(seconds=2))
    after = positions(server)
    assert after[: len(before)] == before and min(after[len(before):]) > max(before) + 1000
    server.stop()
    # What "late" had is left for a newer snapshot.
    assert segments <= {f.name for f in (server.data / "segments").glob("*.seg")}
    assert json.loads(tool("verify", "--data", server.data, "--json"))["report"]["sound"]


def test_snapshots_by_themselves(serve, clips, tmp_path):
    kept = tmp_path / "snapshots"
    server = serve("data", *FLAGS, "--set", f"catalog.snapshot_folder={kept}", "--set", "catalog.snapshot_keep=2")
    wait_until("there is a snapshot", lambda: list(kept.glob("catalog/*.snap")))
    record(server, clips(seconds=2))
    server.stop()
    listed = json.loads(tool("catalog", "restore", "--store", kept, "--list", "--json"))["snapshots"]
    assert len(listed) == 1
    # On a machine that has nothing but the key and the store of snapshots.
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    assert "master key" in tool("catalog", "restore", "--store", kept, "--latest", "--data", fresh, ok=False)
    shutil.copy(server.data / "master.key", fresh / "master.key")
    told = json.loads(tool("catalog", "restore", "--store", kept, "--latest", "--data", fresh, "--json"))
    assert told["time"] == listed[0]["time"]
    assert "no snapshot" in tool("catalog", "restore", "--store", kept, "--at", "2001-01-01T00:00:00Z", "--data", fresh, ok=False)
    snapshot = next(kept.glob("catalog/*.snap"))
    cut = tmp_path / "cut.snap"
    cut.write_bytes(snapshot.read_bytes()[:-1])
    assert "cut off" in tool("catalog", "restore", cut, "--data", fresh, "--force", ok=False)


def test_rotate_restart_plays(recorded, clips, tmp_path):
    server, file = recorded, tmp_path / "old.backup"
    before = positions(server)
    assert "running" in tool("key", "rotate", "--data", server.data, ok=False)
    tool("catalog", "backup", file, "--data", server.data)
    server.stop()
    old = json.loads(tool("key", "show", "--data", server.data, "--json"))
    assert old["retired"] == []
    told = json.loads(tool("key", "rotate", "--data", server.data, "--json"))
    assert told["old"] == old["current"] and told["keys"] >= 3
    for f in ("master.key", "retired.keys"):
        assert (server.data / f).stat().st_mode & 0o77 == 0
    assert old["current"].encode() not in (server.data / "catalog.sqlite").read_bytes()
    server.start()
    assert positions(server) == before and plays(server) == len(before)
    record(server, clips(seconds=2))
    before = positions(server)
    server.stop()
    # An older backup still opens, as the old key is kept; then it is not, and does not.
    tool("catalog", "restore", file, "--data", server.data, "--force")
    server.start()
    assert positions(server) == before and plays(server) == len(before)
    server.stop()
    assert json.loads(tool("key", "forget-retired", "--data", server.data, "--json")) == {"forgotten": 1}
    assert "master key" in tool("catalog", "restore", file, "--data", server.data, "--force", ok=False)
    assert json.loads(tool("verify", "--data", server.data, "--json"))["report"]["sound"]


def test_segments(recorded):
    server = recorded
    fragments = server.fragments("door")
    server.stop()
    segments = json.loads(tool("segment", "list", "--data", server.data, "--json"))["segments"]
    assert segments and all(s["state"] == "local" and s["runs"] >= 1 for s in segments)
    found = []
    for s in segments:
        shown = json.loads(tool("segment", "show", s["id"], "--entries", "--data", server.data, "--json"))
        assert (server.data / shown["name"]).stat().st_size == shown["bytes"] == s["bytes"]
        assert all(r["live"] for r in shown["runs"])
        found += [(e["positions"]["first"], e["plainBytes"]) for e in shown["entries"] if e["kind"] == "payload"]
        text = tool("segment", "show", s["id"], "--entries", "--data", server.data)
        assert "stream" in text and "batch" in text + "batch"
        lines = [json.loads(x) for x in tool("segment", "dump", s["id"], "--data", server.data).splitlines()]
        assert [next(iter(x)) for x in lines] == ["segment"] + ["run"] * len(shown["runs"]) + ["entry"] * len(shown["entries"])
        assert s["id"] in tool("segment", "list", "--data", server.data)
    assert found == [(f["position"], pytest.approx(f["bytes"], abs=5000)) for f in fragments]
    assert "no segment" in tool("segment", "show", "0" * 32, "--data", server.data, ok=False)
    assert "not a segment's id" in tool("segment", "show", "x", "--data", server.data, ok=False)
