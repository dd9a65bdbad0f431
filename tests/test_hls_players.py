"""HLS by Shaka Player, in Chromium: sessions of this server's own, and Kinesis Video's. hls.js is tested where each is."""

import pytest

from support import players
from support.browser import quality
from support.kvs import put_clip, starts
from support.media import ffmpeg_publisher, running
from support.players import ended, failed
from support.server import Server
from support.wait import wait_until
from test_kvs import client
from test_kvs_play import SECONDS, hls, whole


@pytest.fixture(scope="module")
def world(tmp_path_factory, clips):
    """`s` has a clip with sound, in fragments of a second; `door` is published to."""
    with Server(tmp_path_factory.mktemp("hls") / "data", "--set", "video.target_seconds=1") as server:
        client(server).create_stream(StreamName="s", DataRetentionInHours=24)
        put_clip(server, "s", clips(seconds=SECONDS, audio=True))
        server.starts = starts(server, "s")
        with running(ffmpeg_publisher(clips(seconds=60, audio=True), server.publish_url("door"), loop=True)):
            wait_until("some is recorded", lambda: any(s["name"] == "door" for s in server.call("GET", "/v1/streams")["streams"]) and len(server.fragments("door")) > 5)
            yield server


@pytest.fixture
def shaka(chromium, world):
    with players.opened(chromium, world, "Shaka Player") as open:
        yield open


def on_demand(page):
    ended(page)
    assert quality(page, "video")["frames"] >= SECONDS * 25 - 5
    assert abs(page.evaluate("document.querySelector('video').duration") - SECONDS) < 0.3


def goes_on(page, seconds, behind=None):
    """It plays, and the playlist is read again and again."""
    state = lambda: quality(page, "video")
    wait_until("it plays", lambda: failed(page) or state()["frames"] > 25, 60)
    assert failed(page) == []
    before = state()
    wait_until("it goes on", lambda: failed(page) or state()["at"] > before["at"] + seconds, 60)
    assert failed(page) == []
    late = page.evaluate("window.behind()")
    print(f"{late} s behind live")
    assert behind is None or late is not None and late < behind


#: By times of day Shaka holds at the last picture: it cuts the sound at the pictures' length (`SegmentIndex.fit`) before it moves these to
#: where they begin, a little after the sound; so the sound never comes to the end of the presentation, which is by as much longer then.
BY_LENGTH = {"manifest": {"hls": {"ignoreManifestProgramDateTime": True}}}


def test_a_recording(world, shaka):
    on_demand(shaka(world.whole("s"), BY_LENGTH))


def test_a_recording_by_times_of_day_up_to_its_last_picture(world, shaka):
    page = shaka(world.whole("s"))
    wait_until("it plays", lambda: failed(page) or quality(page, "video")["at"] > SECONDS - 0.05, 60)
    assert failed(page) == [] and quality(page, "video")["frames"] >= SECONDS * 25 - 5


def test_a_seek_in_a_recording(world, shaka):
    page = shaka(world.whole("s"), BY_LENGTH)
    wait_until("it plays", lambda: failed(page) or quality(page, "video")["frames"] > 10)
    page.evaluate("document.querySelector('video').currentTime = 6")
    ended(page)


def test_live(world, shaka):
    goes_on(shaka(world.session("door")), 8, behind=15)


def test_from_the_past_on(world, shaka):
    recorded = world.call("GET", "/v1/streams/door")["recorded"]
    goes_on(shaka(world.session("door", mode="event", **{"from": recorded["from"]})), 8)


@pytest.mark.parametrize("container", ["FRAGMENTED_MP4", "MPEG_TS"])
def test_kvs_on_demand(world, shaka, container):
    on_demand(shaka(hls(world, **whole(ContainerFormat=container))))


@pytest.mark.parametrize("clock", ["PRODUCER_TIMESTAMP", "SERVER_TIMESTAMP"])
def test_kvs_live(world, shaka, clock):
    goes_on(shaka(hls(world, "door", PlaybackMode="LIVE", HLSFragmentSelector={"FragmentSelectorType": clock})), 8, behind=15)


def test_a_kvs_replay(world, shaka):
    times = {"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": {"StartTimestamp": world.starts[0] / 1000, "EndTimestamp": world.starts[-1] / 1000 + 5}}
    page = shaka(hls(world, PlaybackMode="LIVE_REPLAY", HLSFragmentSelector=times))
    wait_until("it plays", lambda: failed(page) or quality(page, "video")["frames"] > 75, 60)
    assert failed(page) == []
