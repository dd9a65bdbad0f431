"""Encoders publish by RTSP; what is played is what they sent, byte for byte."""

import subprocess

import pytest

from support import media
from support.media import ffmpeg_publisher, gst_publisher, publish, pyav_publisher, running
from support.server import ApiError, run
from support.wait import wait_until


def check_whole(server, name, clip, audio):
    """Every access unit that was published is played, the same bytes in the same order."""
    server.quiet(name)
    url = server.whole(name)
    media.same_video(clip, url)
    assert media.packets(url) == media.packets(clip)
    if audio:
        media.same_audio(clip, url)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("audio", [False, True], ids=["mute", "aac"])
def test_ffmpeg_publishes(server, clips, transport, audio):
    clip = clips(seconds=6, audio=audio)
    publish(ffmpeg_publisher(clip, server.publish_url("door"), transport))
    check_whole(server, "door", clip, audio)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("audio", [False, True], ids=["mute", "aac"])
def test_gstreamer_publishes(server, clips, transport, audio):
    clip = clips(seconds=6, audio=audio)
    try:
        publish(gst_publisher(clip, server.publish_url("door"), transport, audio), timeout=40)
    except subprocess.TimeoutExpired:
        # rtspclientsink 1.22 does not always come to its end after it has sent everything (against gst-rtsp-server, too).
        # It is killed then, and what it sent must be there all the same.
        pass
    check_whole(server, "door", clip, audio)


def test_b_frames_come_through(server, clips):
    clip = clips(seconds=6, extra=("-bf", "3"))
    publish(ffmpeg_publisher(clip, server.publish_url("b")))
    check_whole(server, "b", clip, False)


#: What FFmpeg 8 publishes. Of AV1: each picture by itself, and as encoders do that have time, with pictures that are not shown when they
#: are decoded, several to a temporal unit, and those that are shown later by a header alone.
MADE = {
    "AV1": ("libaom-av1", ("-usage", "realtime", "-cpu-used", "8")),
    "AV1 by libaom": ("libaom-av1", ("-cpu-used", "8", "-lag-in-frames", "19")),
    "AV1 by SVT-AV1": ("libsvtav1", ("-preset", "10", "-svtav1-params", "pred-struct=2")),
    "AV1 by rav1e": ("librav1e", ("-speed", "10", "-tiles", "4")),
    "VP9": ("libvpx-vp9", ("-deadline", "realtime", "-cpu-used", "8")),
    "VP8": ("libvpx", ("-deadline", "realtime", "-cpu-used", "8")),
    "H.265": ("libx265", ("-tag:v", "hvc1", "-x265-params", "log-level=error:bframes=2:b-adapt=0")),
    "H.264": ("libx264", ("-bf", "2")),
}


@pytest.mark.parametrize("what,transport", [(what, t) for what in MADE for t in ("tcp", "udp") if t == "tcp" or "AV1" in what])
def test_ffmpeg_8_publishes(server, tmp_path, what, transport):
    """With Opus; each picture and each sound is played that was sent."""
    encoder, how = MADE[what]
    # Of pictures that are reordered Matroska does not say when they are decoded.
    clip = tmp_path / ("clip.mp4" if what.startswith("H.") else "clip.mkv")
    media.ffmpeg("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-t", 3,
                 "-pix_fmt", "yuv420p", "-g", 25, "-c:v", encoder, *how, "-c:a", "libopus", clip)
    publish(pyav_publisher(clip, server.publish_url("door"), rtsp_transport=transport))
    server.quiet("door")
    said = {t["codecName"] for t in server.call("GET", "/v1/streams/door")["tracks"]}
    assert said == {what.split()[0], "Opus"}
    out = tmp_path / "out.mkv"
    r = run("export", "door", out, "--from", "0", "--data", server.data, "--json")
    assert r.returncode == 0, r.stderr
    sent = media.frames(clip)
    assert len(sent) == 75 and media.frames(out) == sent
    media.same_audio(clip, out)
    if what != "VP8":
        assert media.frames(server.whole("door")) == sent
    assert all(f["keyFrame"] for f in server.fragments("door"))


def test_two_sessions_are_one_stream_with_a_gap(server, clips):
    clip = clips(seconds=4)
    for n in (1, 2):
        publish(ffmpeg_publisher(clip, server.publish_url("twice")))
        server.quiet("twice")
    pictures = media.packets(clip)
    url = server.whole("twice")
    assert media.packets(url) == 2 * pictures
    assert media.nal_units(url) == 2 * media.nal_units(clip)
    fragments = server.fragments("twice")
    assert [f["discontinuity"] for f in fragments].count(True) >= 1
    # In order, once, and never overlapping.
    starts = [f["producerStart"] for f in fragments]
    assert starts == sorted(starts) and len(set(starts)) == len(starts)


def refused(command):
    r = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert r.returncode != 0, "it was let in"
    return r.stderr


def streams(server):
    return {s["name"] for s in server.call("GET", "/v1/streams")["streams"]}


def test_wrong_credentials_are_refused(server, clips):
    clip = clips(seconds=4)
    for user, password in [(server.key, "wrong"), ("nobody", server.secret), (server.key, server.secret[:-1])]:
        words = refused(ffmpeg_publisher(clip, server.publish_url("door", user, password)))
        assert "401" in words, words
    words = refused(ffmpeg_publisher(clip, f"rtsp://{server.rtsp}/door"))
    assert "401" in words, words
    assert streams(server) == set()


@pytest.mark.parametrize("name", ["", "a%20b", "a/b", "x" * 257, "..%2f..", "door%00"], ids=["empty", "space", "slash", "long", "dots", "nul"])
def test_bad_stream_names_are_refused(server, clips, name):
    words = refused(ffmpeg_publisher(clips(seconds=4), server.publish_url(name)))
    assert "40" in words, words
    assert streams(server) == set()


def test_a_push_url_is_for_its_stream_alone(server, clips):
    clip = clips(seconds=4)
    url = server.add_push("door")
    other = server.publish_url("door")
    with pytest.raises(ApiError) as e:
        server.add_push("door")
    assert e.value.status == 409

    stolen = url.rsplit("/", 1)[0] + "/garage"
    words = refused(ffmpeg_publisher(clip, stolen))
    assert "401" in words or "403" in words, words
    publish(ffmpeg_publisher(clip, url))
    check_whole(server, "door", clip, False)

    # A new URL, and the old one is worth nothing.
    fresh = server.call("POST", "/v1/cameras/door/publish-url")["publishUrl"]
    assert fresh != url
    refused(ffmpeg_publisher(clip, url))
    publish(ffmpeg_publisher(clip, fresh))
    publish(ffmpeg_publisher(clip, other))
    assert streams(server) == {"door"}
    # It was shown once.
    assert "publishUrl" not in server.camera("door")


def test_the_newest_publisher_wins(server, clips):
    """A camera that comes back after a power cut is not kept out by its own dead connection."""
    url, clip = server.publish_url("door"), clips(seconds=4)
    with running(ffmpeg_publisher(clip, url, loop=True)) as first:
        wait_until("it runs", lambda: "door" in streams(server) and server.camera("door")["state"] == "running")
        with running(ffmpeg_publisher(clip, url, loop=True)) as second:
            wait_until("the first is sent away", lambda: first.poll() is not None)
            wait_until("the second runs", lambda: (c := server.camera("door"))["state"] == "running" and c["unitsIn"] > 25)
            assert second.poll() is None
            camera = server.camera("door")
            assert camera["lost"] == 0 and camera["unitsIn"] - camera["unitsOut"] <= 5


def test_what_is_pushed_without_being_added_is_listed_while_it_is(server, clips):
    with running(ffmpeg_publisher(clips(seconds=4), server.publish_url("door"), loop=True)):
        wait_until("it is there", lambda: [c["name"] for c in server.call("GET", "/v1/cameras")["cameras"]] == ["door"])
        wait_until("it is recorded", lambda: server.camera("door")["recorded"])
    server.quiet("door")
    # It never was a camera, so none is left; its recordings are a stream's like any other.
    assert server.call("GET", "/v1/cameras")["cameras"] == []
    stream, = server.call("GET", "/v1/streams")["streams"]
    assert stream["name"] == "door" and stream["recorded"]


def test_a_camera_that_waits_says_since_when(server, clips):
    server.add_push("door")
    before = server.camera("door")
    assert before["state"] == "waiting" and before["since"] == before["created"]
    publish(ffmpeg_publisher(clips(seconds=3), server.publish_url("door")))
    server.quiet("door")
    after = server.camera("door")
    # Nothing is said of the time to come: the last picture may last longer than until now.
    assert after["created"] < after["since"] <= after["lastFrame"]
