"""What is lost leaves a gap: in playlists that change, no media sequence number comes to name another segment."""

import re

import pytest
import requests

from support.browser import page_of, play_hls, quality
from support.m3u8 import fetch, renditions
from support.media import ffmpeg_publisher, publish
from support.s3 import S3
from support.server import Server
from support.wait import wait_until
from test_kvs_play import hls, playlists, read

SECONDS = 20


@pytest.fixture(scope="module")
def holed(tmp_path_factory, clips):
    """A server that has lost the middle of `door`, with the playlists of sessions from before that, by their addresses."""
    folder = tmp_path_factory.mktemp("gaps")
    flags = [x for f in ("video.target_seconds=1", "shard_log.segment_seconds=1", "shard_log.cache_mib=0") for x in ("--set", f)]
    with S3(folder / "s3") as s3, Server(folder / "data", *s3.flags(), *flags) as server:
        publish(ffmpeg_publisher(clips(seconds=SECONDS, audio=True), server.publish_url("door")))
        server.quiet("door")
        # The address that it has after a restart is another.
        path = lambda url: url.removeprefix(server.url)
        # Asked for at once: a stream is LIVE for half a minute.
        kvs = [path(u) for u in playlists(hls(server, "door", PlaybackMode="LIVE", MaxMediaPlaylistFragmentResults=SECONDS - 2, Expires=3600))]
        server.only_in_store()
        start = server.call("GET", "/v1/streams/door")["recorded"]["from"]
        event = server.session("door", mode="event", **{"from": start})
        server.event = path(event)
        # Live from the beginning on: all of it is still shown.
        live = server.session("door", mode="live", **{"from": start})
        ours = [path(u) for s in (event, live) for u in (fetch(server.http, s).url, *renditions(server.http, s))]
        server.before = {p: read(server.url + p) for p in ours + kvs}
        keys = s3.keys(below="segments/")
        assert len(keys) >= 8, keys
        middle = len(keys) // 2
        for key in keys[middle:middle + 3]:
            s3.path(key).unlink()
        server.restart()
        yield server


def test_numbers_stay(holed):
    base = lambda s: re.sub(r"^https?://[^/]*", "", s.uri)
    for path, before in holed.before.items():
        after = read(holed.url + path)
        assert before.sequence == after.sequence and len(before.segments) == len(after.segments), path
        assert not any(s.gap for s in before.segments)
        gaps = [s for s in after.segments if s.gap]
        assert gaps and after.segments[0].gap is after.segments[-1].gap is False, after.text
        for a, b in zip(before.segments, after.segments):
            assert a.sequence == b.sequence
            if b.gap:
                assert 0 < b.duration <= after.target and not requests.get(b.uri, timeout=30).ok
            else:
                assert (base(a), a.duration, a.time) == (base(b), b.duration, b.time)
                assert requests.get(b.uri, timeout=30).ok
        assert abs(before.length - after.length) < 0.5, "the gaps are as long as what was there"


def test_a_browser_plays_past_it(holed, chromium):
    after = fetch(holed.http, holed.url + holed.event)
    gap = next(s for s in after.segments if s.gap)
    begins = sum(s.duration for s in after.segments if s.sequence < gap.sequence)
    ends = begins + sum(s.duration for s in after.segments if s.gap)
    with page_of(chromium, holed, signed_in=False) as page:
        page.goto(holed.url + "/healthz")
        play_hls(page, holed.url + holed.event)
        failed = lambda: page.evaluate("window.failed.length")
        wait_until("it plays from the beginning", lambda: failed() or 0 < quality(page, "video")["at"] < begins and quality(page, "video")["frames"] > 10, 60)
        wait_until("it plays past the gap", lambda: failed() or quality(page, "video")["at"] > ends + 2, 60)
        assert page.evaluate("window.failed") == []
        # Nothing of the gap was asked for.
        asked = page.evaluate("performance.getEntriesByType('resource').map((r) => r.name)")
        assert any(".m4s" in a for a in asked) and not any("gap" in a for a in asked), asked
