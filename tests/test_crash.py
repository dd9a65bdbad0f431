"""kill -9 under load: what was listed before is there afterwards, the same bytes, once, in order.

The log has a harness of its own (src/log) that compares every record; this one looks from outside, as a client.
"""

import hashlib
import os

import pytest

from support.m3u8 import fetch, renditions
from support.media import ffmpeg_publisher, running
from support.wait import wait_until

CYCLES = 100 if os.environ.get("RUSHES_SOAK") == "1" else 8
NAMES = ("left", "right")


def media_bytes(server, name, known):
    """Hashes of every fragment's media by position, video and sound; those in `known` are not fetched again."""
    url = server.whole(name)
    tracks = [fetch(server.http, u) for u in [url, *renditions(server.http, url)]]
    out = {}
    for n, playlist in enumerate(tracks):
        for s in playlist.segments:
            key = (n, s.position)
            if key not in known:
                r = server.http.get(s.uri, timeout=30)
                assert r.ok, f"{s.uri}: {r.status_code}"
                out[key] = hashlib.sha256(r.content).hexdigest()
    return out


def listed(server, name):
    return [(f["position"], f["producerStart"], f["producerEnd"], f["bytes"], f["keyFrame"], f["discontinuity"]) for f in server.fragments(name)]


@pytest.mark.parametrize("store", ["folder", "s3"])
def test_kill_9_under_load(serve, clips, request, store):
    s3 = request.getfixturevalue("s3") if store == "s3" else None
    more = (*s3.flags(), "--set", "shard_log.cache_mib=0", "--set", "shard_log.segment_seconds=1") if s3 else ()
    server = serve("data", *more, "--set", "video.target_seconds=0.4", "--set", "shard_log.segment_mib=1", "--set", "shard_log.journal_file_mib=1")
    clip = clips(seconds=10, gop=8, audio=True, size="640x360")
    before = {name: [] for name in NAMES}
    hashes = {name: {} for name in NAMES}
    for cycle in range(CYCLES if not s3 else CYCLES // 2):
        with running(ffmpeg_publisher(clip, server.publish_url("left"), loop=True)), \
             running(ffmpeg_publisher(clip, server.publish_url("right"), loop=True)):
            there = lambda n: {s["name"] for s in server.call("GET", "/v1/streams")["streams"] if s["recorded"]} >= {n}
            for name in NAMES:
                wait_until(f"{name} has more", lambda: there(name) and len(server.fragments(name)) >= len(before[name]) + 3)
            # Hashing first, listing second: the list is what must survive, and hashes are of a part of it.
            fresh = {name: media_bytes(server, name, hashes[name]) for name in NAMES}
            now = {name: listed(server, name) for name in NAMES}
            server.kill()
        server.check_log()
        server.start()
        for name in NAMES:
            assert now[name][: len(before[name])] == before[name], f"cycle {cycle}: {name} changed while it ran"
            after = listed(server, name)
            assert after[: len(now[name])] == now[name], f"cycle {cycle}: {name} lost or changed something"
            positions = [f[0] for f in after]
            assert len(set(positions)) == len(positions), f"cycle {cycle}: {name} has a fragment twice"
            starts = [f[1] for f in after]
            assert starts == sorted(starts), f"cycle {cycle}: {name} is out of order"
            again = media_bytes(server, name, hashes[name])
            assert {k: again.get(k) for k in fresh[name]} == fresh[name], f"cycle {cycle}: {name} has other bytes"
            hashes[name].update(again)
            before[name] = after
    if s3:
        server.only_in_store()
    # And once more all of them, from the very first.
    for name in NAMES:
        assert media_bytes(server, name, {}) == hashes[name]
