"""The archive's tools against a real S3 server, and killed in the middle of what they do."""

import json
import os
import random
import shutil
import subprocess
import time

from support.m3u8 import fetch
from support.media import ffmpeg_publisher, publish, running
from support.server import BIN, environment, run
from support.wait import wait_until

SOON = ("--set", "video.target_seconds=0.5", "--set", "shard_log.segment_seconds=1")
KILLS = 60 if os.environ.get("RUSHES_SOAK") == "1" else 4


def tool(*arguments, ok=True):
    r = run(*arguments)
    assert (r.returncode == 0) == ok, r
    return json.loads(r.stdout) if ok and "--json" in arguments else r.stdout + r.stderr


def record(server, clip, name="door"):
    publish(ffmpeg_publisher(clip, server.publish_url(name)))
    server.quiet(name)


def positions(server, name="door"):
    return [f["position"] for f in server.fragments(name)]


def plays(server, name="door"):
    segments = fetch(server.http, server.whole(name)).segments
    assert segments and {server.http.get(s.uri).status_code for s in segments} == {200}
    return len(segments)


def test_a_lost_machine_comes_back_from_the_bucket(serve, clips, s3, tmp_path):
    store = (*s3.flags(), "--set", "shard_log.cache_mib=0")
    server = serve("data", *SOON, *store, "--set", "catalog.snapshot_minutes=0")
    record(server, clips(seconds=3))
    server.stop()
    assert not s3.keys(below="catalog/")
    server.flags = (*SOON, *store)
    server.start()
    wait_until("a snapshot is in the bucket", lambda: s3.keys(below="catalog/"))
    # What comes now the snapshot does not know.
    record(server, clips(seconds=3))
    server.stored()
    before = positions(server)
    known = s3.keys(below="segments/")
    server.kill()
    told = tool("verify", "--data", server.data, *store, "--json")
    assert told["report"]["sound"] and told["report"]["segments"] >= len(known) and told["report"]["journalChecked"], told

    # All that is left is the bucket and a copy of the master key.
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    shutil.copy(server.data / "master.key", fresh / "master.key")
    shutil.rmtree(server.data)
    listed = tool("catalog", "restore", *store, "--list", "--data", fresh, "--json")["snapshots"]
    assert len(listed) == len(s3.keys(below="catalog/"))
    tool("catalog", "restore", *store, "--latest", "--data", fresh, "--json")
    again = serve("fresh", *SOON, *store)
    assert positions(again) == before and plays(again) == len(before)
    assert set(known) <= set(s3.keys(below="segments/")), "what was taken up was not taken for an orphan"
    record(again, clips(seconds=2))
    after = positions(again)
    assert after[: len(before)] == before and len(after) > len(before)
    again.stored()
    again.stop()

    # A flipped bit in an object, and one that is gone, are named.
    told = tool("verify", "--data", fresh, *store, "--json")
    assert told["report"]["sound"] and told["findings"] == [], told
    flipped, lost = (s3.path(k) for k in s3.keys(below="segments/")[:2])
    content = bytearray(flipped.read_bytes())
    content[64 + 500] ^= 1
    flipped.write_bytes(content)
    lost.unlink()
    r = run("verify", "--data", fresh, *store, "--json")
    found = json.loads(r.stdout)["findings"]
    assert r.returncode == 1 and {f["severity"] for f in found} == {"damage"}, r
    assert all(any(name in f["place"] for f in found) for name in (flipped.name, lost.name)), found


def killed(rng, *arguments, most):
    """Runs a command and kills it at any moment, or not at all if it was quicker. Whether it was done."""
    p = subprocess.Popen([BIN, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    time.sleep(rng.uniform(0, most))
    p.kill()
    return p.wait() == 0


def test_tools_killed_in_the_middle(serve, clips, tmp_path):
    """Whatever a command had done when it was killed, the next one and the server go on from there."""
    rng = random.Random(1)
    server = serve("data", *SOON)
    record(server, clips(seconds=3))
    before = positions(server)
    server.stop()
    data, backup = server.data, tmp_path / "catalog.backup"
    tool("catalog", "backup", backup, "--data", data)
    began = time.monotonic()
    tool("verify", "--data", data)
    most = 1.2 * (time.monotonic() - began)

    def intact():
        server.start()
        assert positions(server) == before and plays(server) == len(before)
        server.stop()

    for n in range(KILLS):
        killed(rng, "key", "rotate", "--data", data, most=most)
        assert tool("key", "show", "--data", data, "--json")["current"]
    # And the whole of it, once more.
    assert tool("key", "rotate", "--data", data, "--json")["keys"] >= 3
    intact()
    for n in range(KILLS):
        file = tmp_path / f"{n}.backup"
        done = killed(rng, "catalog", "backup", file, "--data", data, most=most)
        assert file.exists() or not done
        if file.exists():
            tool("catalog", "restore", file, "--data", data, "--force")
    for n in range(KILLS):
        killed(rng, "catalog", "restore", backup, "--data", data, "--force", most=most)
        if not (data / "catalog.sqlite").exists():
            # Between the two names it says what to do.
            assert "catalog restore" in tool("verify", "--data", data, ok=False)
            tool("catalog", "restore", backup, "--data", data)
    intact()
    for n in range(KILLS):
        killed(rng, "verify", "--data", data, most=most)
    told = tool("verify", "--data", data, "--json", "--resume")
    assert told["report"]["sound"], told


def test_kill_9_while_segments_are_stored_and_removed(serve, clips, s3):
    """Small segments in a bucket, and a budget that takes the oldest."""
    server = serve("data", *SOON, *s3.flags(), "--set", "shard_log.cache_mib=0", "--set", "shard_log.segment_mib=1")
    clip = clips(seconds=6, gop=8)
    server.call("POST", "/v1/streams", {"name": "door"})
    server.call("PATCH", "/v1/streams/door", {"retention": {"bytes": 400_000, "onFull": "overwrite"}})
    seen = 0
    for _ in range(KILLS // 2):
        with running(ffmpeg_publisher(clip, server.publish_url("door"), loop=True)):
            wait_until("there is more", lambda: (server.metric("rushes_log_uploads_total") or 0) >= 2
                       and (server.fragments("door") or [{"position": -1}])[-1]["position"] > seen + 4)
            before = server.fragments("door")
            server.kill()
        server.check_log()
        server.start()
        after = {f["position"]: f for f in server.fragments("door")}
        oldest = min(after, default=0)
        kept = [f for f in before if f["position"] >= oldest]
        assert [after.get(f["position"]) for f in kept] == kept
        seen = max(after, default=seen)
        plays(server)
    server.stop()
    told = tool("verify", "--data", server.data, *s3.flags(), "--json")
    assert told["report"]["sound"], told
