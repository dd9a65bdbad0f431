"""What players see: playlists, media, headers; read by FFmpeg and GStreamer without a warning."""

import datetime
import re
import subprocess
import urllib.parse

import pytest

from support import media
from support.m3u8 import fetch, renditions, when
from support.media import ffmpeg_publisher, publish, running
from support.s3 import S3
from support.server import ApiError, Server
from support.wait import wait_until

SECOND = datetime.timedelta(seconds=1)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, clips):
    """A server with ten seconds of video and sound, in fragments of one second, as the stream `door`."""
    with Server(tmp_path_factory.mktemp("hls") / "data", "--set", "video.target_seconds=1") as server:
        clip = clips(seconds=10, audio=True)
        publish(ffmpeg_publisher(clip, server.publish_url("door")))
        server.quiet("door")
        server.clip = clip
        yield server


@pytest.fixture(scope="module")
def archived(tmp_path_factory, clips):
    """The same, all of it in an S3 bucket and nothing of it in the data folder, played by a fresh process."""
    folder = tmp_path_factory.mktemp("hls-s3")
    flags = [x for f in ("video.target_seconds=1", "shard_log.segment_seconds=1", "shard_log.cache_mib=0") for x in ("--set", f)]
    with S3(folder / "s3") as s3, Server(folder / "data", *s3.flags(), *flags) as server:
        clip = clips(seconds=10, audio=True)
        publish(ffmpeg_publisher(clip, server.publish_url("door")))
        server.quiet("door")
        server.only_in_store()
        server.restart()
        server.clip = clip
        yield server


@pytest.fixture(params=["recorded", "archived"])
def played(request):
    """Recordings in the data folder, and in a bucket."""
    return request.getfixturevalue(request.param)


def times(server, name="door"):
    r = server.call("GET", f"/v1/streams/{name}")["recorded"]
    return when(r["from"]), when(r["to"])


def test_all_of_it_on_demand(played):
    p = fetch(played.http, played.whole("door"))
    start, end = times(played)
    assert p.ended and p.kind == "VOD"
    assert abs(p.length - 10) < 0.2 and p.target >= max(s.duration for s in p.segments) - 0.5
    assert p.segments[0].time is not None, "no EXT-X-PROGRAM-DATE-TIME"
    assert abs(p.segments[0].time - start) < 0.1 * SECOND and abs(p.segments[-1].end - end) < 0.1 * SECOND
    # Every date is where the durations before it lead.
    for a, b in zip(p.segments, p.segments[1:]):
        assert abs(a.end - b.time) < 0.02 * SECOND
    fragments = played.fragments("door")
    assert len(p.segments) == len(fragments) and all(s.init for s in p.segments)
    sound = [fetch(played.http, u) for u in renditions(played.http, played.whole("door"))]
    assert len(sound) == 1 and sound[0].ended and abs(sound[0].length - 10) < 0.3


def test_both_ends_on_demand_are_exact(played):
    start, _ = times(played)
    for a, b in [(2.5, 5.25), (0, 1), (9.5, 60)]:
        since, until = start + a * SECOND, start + b * SECOND
        url = played.session("door", **{"from": since.isoformat(), "to": until.isoformat(), "by": "producer"})
        p = fetch(played.http, url)
        first, last = p.segments[0], p.segments[-1]
        assert p.ended
        # As many whole fragments as the range touches, and none more.
        assert first.time <= since + 0.05 * SECOND < first.end, (first.time, since)
        assert last.time < until + 0.05 * SECOND and (last.end >= until - 0.05 * SECOND or b > 10), (last.end, until)


def test_the_multivariant_playlist_says_what_there_is(recorded):
    text = recorded.http.get(recorded.whole("door")).text
    assert 'CODECS="avc1.' in text and "mp4a.40.2" in text
    assert "RESOLUTION=320x180" in text and re.search(r"BANDWIDTH=[1-9]\d+", text)
    assert '#EXT-X-MEDIA:TYPE=AUDIO' in text


def test_bad_sessions_are_refused(recorded):
    start, end = times(recorded)
    for how, status in [
        ({"from": end.isoformat(), "to": start.isoformat()}, 400),
        ({"to": end.isoformat()}, 400),
        ({"from": "yesterday"}, 400),
        ({"mode": "backwards"}, 400),
        ({"colour": "red"}, 400),
        ({"expiresInSeconds": 0}, 400),
    ]:
        with pytest.raises(ApiError) as e:
            recorded.session("door", **how)
        assert e.value.status == status, how
    with pytest.raises(ApiError) as e:
        recorded.session("window")
    assert e.value.status == 404


def test_media_ranges_and_headers(played):
    http = played.http
    p = fetch(http, played.whole("door"))
    for uri in (p.segments[0].uri, p.segments[0].init):
        whole = http.get(uri)
        size = len(whole.content)
        assert whole.status_code == 200 and int(whole.headers["Content-Length"]) == size > 100
        assert whole.headers["Content-Type"] == "video/mp4" or whole.headers["Content-Type"].endswith("/mp4")
        assert "immutable" in whole.headers["Cache-Control"] and whole.headers["Accept-Ranges"] == "bytes"
        assert whole.headers["Access-Control-Allow-Origin"] == "*"
        half = size // 2
        a, b = (http.get(uri, headers={"Range": r}) for r in (f"bytes=0-{half - 1}", f"bytes={half}-"))
        assert a.status_code == b.status_code == 206 and a.content + b.content == whole.content
        assert a.headers["Content-Range"] == f"bytes 0-{half - 1}/{size}"
        tail = http.get(uri, headers={"Range": "bytes=-10"})
        assert tail.status_code == 206 and tail.content == whole.content[-10:]
        beyond = http.get(uri, headers={"Range": f"bytes={size}-"})
        assert beyond.status_code == 416 and beyond.headers["Content-Range"] == f"bytes */{size}"
        assert http.get(uri, headers={"Range": "bytes=nonsense"}).content == whole.content
        head = http.head(uri)
        assert head.status_code == 200 and int(head.headers["Content-Length"]) == size and not head.content


def test_a_page_elsewhere_may_play(recorded):
    url = recorded.whole("door")
    r = recorded.http.options(url, headers={"Origin": "https://example.org", "Access-Control-Request-Method": "GET",
                                            "Access-Control-Request-Headers": "range"})
    assert r.ok and r.headers["Access-Control-Allow-Origin"] in ("*", "https://example.org")
    assert "range" in r.headers.get("Access-Control-Allow-Headers", "").lower()
    r = recorded.http.get(fetch(recorded.http, url).segments[0].uri, headers={"Range": "bytes=0-9"})
    exposed = r.headers.get("Access-Control-Expose-Headers", "").lower()
    assert "content-range" in exposed or exposed == "*", "hls.js cannot read the range"


def test_an_address_for_what_keeps_one_is_played(recorded):
    """FFmpeg, which knows of neither sessions nor tokens: it is asked who it is, and led to a session."""
    user, password = (urllib.parse.quote(x, safe="") for x in (recorded.key, recorded.secret))
    url = f"{recorded.url}/v1/streams/door/live.m3u8"
    address = url.replace("://", f"://{user}:{password}@")
    for kind, least in [("v", 100), ("a", 180)]:
        played = media.ffmpeg("-xerror", "-live_start_index", 0, "-i", address, "-t", 4, "-map", f"0:{kind}", "-c", "copy", "-f", "framecrc", "-")
        assert sum(not l.startswith(b"#") for l in played.splitlines()) >= least
    sessions = {recorded.http.get(url, allow_redirects=False).headers["Location"] for _ in range(2)}
    assert len(sessions) == 2 and all(s.startswith("/hls/") for s in sessions), "each has one of its own"


def test_tokens_are_authentic_and_expire(recorded):
    http, url = recorded.http, recorded.session("door")
    http.auth, auth = None, http.auth
    try:
        assert http.get(url).ok, "the token alone admits"
        token = url.split("/hls/")[1].split("/")[0]
        for forged in (token[:-1] + ("A" if token[-1] != "A" else "B"), "A" * len(token), token[: len(token) // 2], "x", token.swapcase()):
            r = http.get(url.replace(token, forged))
            assert r.status_code in (401, 403, 404), f"{forged}: {r.status_code}"
            assert token not in r.text
        http.auth = auth
        short = recorded.session("door", expiresInSeconds=1)
        http.auth = None
        wait_until("it expires", lambda: http.get(short).status_code in (401, 403), 10)
        segment = fetch(http, url).segments[0].uri
        expired = segment.replace(token, short.split("/hls/")[1].split("/")[0])
        assert http.get(expired).status_code in (401, 403)
    finally:
        http.auth = auth


def test_players_read_it_without_a_warning(played):
    url = played.whole("door")
    for command in (
        ["ffprobe", "-hide_banner", "-v", "warning", "-show_streams", "-of", "json", url],
        ["ffmpeg", "-hide_banner", "-nostdin", "-v", "warning", "-i", url, "-f", "null", "-"],
    ):
        r = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert r.returncode == 0 and r.stderr == "", f"{command[0]}: {r.stderr}"
    pipeline = f"playbin3 uri={url} video-sink=fakesink audio-sink=fakesink"
    r = subprocess.run(["gst-launch-1.0", "-q", *pipeline.split()], capture_output=True, text=True, timeout=60)
    assert r.returncode == 0 and not re.search("WARN|ERROR", r.stdout + r.stderr), r.stderr


def test_key_frames_alone(played):
    p = fetch(played.http, played.whole("door", frames="key"))
    assert abs(p.length - 10) < 0.2
    assert media.packets(p.url) == len(p.segments) == len(played.fragments("door"))


def test_sequence_numbers_hold_over_a_restart(serve, clips):
    server = serve("data", "--set", "video.target_seconds=1")
    for _ in range(2):
        publish(ffmpeg_publisher(clips(seconds=4), server.publish_url("door")))
        server.quiet("door")

    def numbers():
        p = fetch(server.http, server.session("door"))
        return [(s.position, s.sequence, s.discontinuity) for s in p.segments], p.sequence, p.discontinuities

    before = numbers()
    assert len(before[0]) >= 6 and sum(d for _, _, d in before[0]) >= 1
    server.restart()
    assert numbers() == before
    publish(ffmpeg_publisher(clips(seconds=4), server.publish_url("door")))
    wait_until("more is there", lambda: len(numbers()[0]) > len(before[0]))
    assert numbers()[0][: len(before[0])] == before[0]


def test_live_slides_and_event_grows(serve, clips):
    server = serve("data", "--set", "video.target_seconds=0.5", "--set", "video.live_window_seconds=3")
    with running(ffmpeg_publisher(clips(seconds=10, gop=12), server.publish_url("door"), loop=True)):
        wait_until("something is there", lambda: any(s["name"] == "door" and s["recorded"] for s in server.call("GET", "/v1/streams")["streams"]))
        live = server.session("door")
        start, _ = times(server)
        event = server.session("door", mode="event", **{"from": start.isoformat()})
        late = server.session("door", **{"from": start.isoformat()})
        first = fetch(server.http, live)
        assert not first.ended and first.kind is None
        r = server.http.get(first.url)
        assert re.search("no-store|no-cache|max-age=[01]$", r.headers["Cache-Control"]), r.headers["Cache-Control"]

        slid = wait_until("the window slides", lambda: (p := fetch(server.http, live)).sequence > first.sequence and p)
        assert slid.length < 3 + 2 * slid.target
        # Where both list a segment, they agree on its number and time.
        known = {s.uri.split("/", 4)[-1]: s for s in first.segments}
        both = [(known[k], s) for s in slid.segments if (k := s.uri.split("/", 4)[-1]) in known]
        assert all(a.sequence == b.sequence and abs(a.time - b.time) < 0.01 * SECOND for a, b in both)

        grown = fetch(server.http, event)
        assert grown.kind == "EVENT" and grown.length > slid.length and not grown.ended
        assert abs(grown.segments[0].time - start) < 0.1 * SECOND
        again = wait_until("the event grows", lambda: len((p := fetch(server.http, event)).segments) > len(grown.segments) and p)
        assert [s.uri for s in again.segments][: len(grown.segments)] == [s.uri for s in grown.segments]
        joined = fetch(server.http, late)
        assert abs(joined.segments[0].time - start) < 1 * SECOND and not joined.ended

        # How far behind live is what a player could show now: the last whole fragment's end.
        p = fetch(server.http, live)
        now = when(server.call("GET", "/v1/streams/door/timeline?from=0&to=1")["now"])
        assert now - p.segments[-1].end < 3 * SECOND
