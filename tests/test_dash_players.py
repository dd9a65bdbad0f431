"""Kinesis Video's DASH sessions by dash.js and Shaka Player, in Chromium."""

import pytest

from support import players
from support.browser import quality
from support.kvs import T0, archived, put_clip, starts
from support.media import ffmpeg_publisher, running
from support.players import PLAYERS, ended, failed
from support.server import Server
from support.wait import wait_until
from test_kvs import client

SECONDS = 8


@pytest.fixture(scope="module")
def world(tmp_path_factory, clips):
    """`s` has a clip with sound, in fragments of a second, `vp9` one of VP9 without; `door` is published to."""
    with Server(tmp_path_factory.mktemp("dash") / "data", "--set", "video.target_seconds=1") as server:
        client(server).create_stream(StreamName="s", DataRetentionInHours=24)
        server.clip = clips(seconds=SECONDS, audio=True)
        put_clip(server, "s", server.clip)
        client(server).create_stream(StreamName="vp9", DataRetentionInHours=24)
        put_clip(server, "vp9", clips(seconds=SECONDS, codec="libvpx-vp9", extra=("-deadline", "realtime", "-cpu-used", "8")))
        server.starts = starts(server, "s")
        with running(ffmpeg_publisher(clips(seconds=60, audio=True), server.publish_url("door"), loop=True)):
            wait_until("some is recorded", lambda: any(s["name"] == "door" for s in server.call("GET", "/v1/streams")["streams"]) and len(server.fragments("door")) > 5)
            yield server


@pytest.fixture(params=PLAYERS)
def player(request, chromium, world):
    """Opens a manifest in a page of its own."""
    with players.opened(chromium, world, request.param) as open:
        yield open


def dash(server, stream, **asked):
    return archived(server).get_dash_streaming_session_url(StreamName=stream, **asked)["DASHStreamingSessionURL"]


def whole(start=-10, end=1000):
    times = {"StartTimestamp": T0 / 1000 + start, "EndTimestamp": T0 / 1000 + end}
    return {"PlaybackMode": "ON_DEMAND", "DASHFragmentSelector": {"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": times}}


@pytest.mark.parametrize("stream", ["s", "vp9"])
def test_on_demand_to_its_end(world, player, stream):
    page = player(dash(world, stream, **whole()))
    ended(page)
    assert quality(page, "video")["frames"] >= SECONDS * 25 - 5
    assert abs(page.evaluate("document.querySelector('video').duration") - SECONDS) < 0.3


def test_a_seek_on_demand(world, player):
    page = player(dash(world, "s", **whole()))
    wait_until("it plays", lambda: failed(page) or quality(page, "video")["frames"] > 10)
    page.evaluate("document.querySelector('video').currentTime = 6")
    ended(page)


@pytest.mark.parametrize("clock", ["PRODUCER_TIMESTAMP", "SERVER_TIMESTAMP"])
def test_live_goes_on(world, player, clock):
    page = player(dash(world, "door", PlaybackMode="LIVE", DASHFragmentSelector={"FragmentSelectorType": clock}))
    state = lambda: quality(page, "video")
    wait_until("it plays", lambda: failed(page) or state()["frames"] > 25, 60)
    assert failed(page) == []
    before = state()
    # Longer than the manifest's window: it is read again and again.
    wait_until("it goes on", lambda: failed(page) or state()["at"] > before["at"] + 8, 60)
    assert failed(page) == []
    behind = page.evaluate("window.behind()")
    print(f"{behind} s behind live")
    assert behind is None or behind < 15


def test_a_replay(world, player):
    times = {"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": {"StartTimestamp": world.starts[0] / 1000, "EndTimestamp": world.starts[-1] / 1000 + 5}}
    page = player(dash(world, "s", PlaybackMode="LIVE_REPLAY", DASHFragmentSelector=times))
    wait_until("it plays", lambda: failed(page) or quality(page, "video")["frames"] > 75, 60)
    assert failed(page) == []
