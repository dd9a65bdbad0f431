"""Each way in × way out × codec: it plays, or is refused with the reason and what would do. The table of docs/webrtc.md, cell by cell."""

import contextlib
import json
import subprocess

import pytest

from support import media, webrtc
from support.browser import FLAGS
from support.kvs import put_clip
from support.media import ffmpeg_publisher, running
from support.server import Server, run
from support.wait import wait_until
from test_kvs import client

CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--allow-loopback-in-peer-connection"]

#: How a clip with the codec is made: of pictures, and of sound beside them.
SOURCES = {
    "H.264": ("libx264", ()),
    "H.264 with B-frames": ("libx264", ("-bf", "2")),
    "H.265": ("libx265", ("-x265-params", "log-level=error", "-tag:v", "hvc1")),
    "Opus": ("libx264", ("-c:a", "libopus")),
    "G.711": ("libx264", ("-c:a", "pcm_mulaw", "-ar", "8000", "-ac", "1")),
    "AAC": ("libx264", ("-c:a", "aac")),
}
#: What ffprobe calls it where it comes out as it is.
NAMES = {"H.264": "h264", "H.264 with B-frames": "h264", "H.265": "hevc", "Opus": "opus", "G.711": "pcm_mulaw", "AAC": "aac"}
SOUND = ("Opus", "G.711", "AAC")

#: What comes out by files and by HLS, where it is not as it is: None is left out.
OUT = {
    ("G.711", "HLS"): None,
    ("G.711", "HLS with AAC"): "aac",
    ("Opus", "HLS with AAC"): "aac",
}
#: By WHEP, in Chromium: played, or refused with these words; of sound, whether it is sent.
WHEP = {
    "H.264": True,
    "H.264 with B-frames": "B-frames",
    "H.265": "HLS",
    "Opus": True,
    "G.711": True,
    "AAC": False,
}
@pytest.fixture(scope="module")
def world(tmp_path_factory, clips):
    """Gives the stream that has a codec by a way in, made once."""
    folder = tmp_path_factory.mktemp("ways")
    with Server(folder / "data", "--set", "video.target_seconds=1", "--set", "video.limits=off") as server, contextlib.ExitStack() as stack:
        made = {}

        def clip(codec):
            video, extra = SOURCES[codec]
            sound = codec in SOUND
            if codec not in made:
                path = folder / f"{NAMES[codec]}{len(made)}.mkv"
                inputs = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"] if sound else []
                media.ffmpeg("-y", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", *inputs, "-t", 20, "-c:v", video, "-preset", "veryfast",
                             "-pix_fmt", "yuv420p", "-g", 25, "-bf", 0, *extra, path)
                made[codec] = path
            return made[codec]

        streams = {}

        def stream(codec, way):
            name = f"{way}-{NAMES[codec]}-{'b' if 'B-frames' in codec else 'p'}".replace(" ", "")
            if name not in streams:
                if way == "RTSP":
                    stack.enter_context(running(ffmpeg_publisher(clip(codec), server.publish_url(name), loop=True)))
                elif way == "PutMedia":
                    client(server).create_stream(StreamName=name, DataRetentionInHours=24)
                    put_clip(server, name, clip(codec))
                else:
                    r = run("import", name, clip(codec), "--data", server.data, "--json")
                    assert r.returncode == 0, r.stderr
                there = lambda: any(s["name"] == name and s["recorded"] for s in server.call("GET", "/v1/streams")["streams"]) and len(server.fragments(name)) >= 3
                wait_until("it is recorded", there, 60)
                streams[name] = True
            return name

        server.stream = stream
        yield server


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path="/usr/bin/chromium", args=[*FLAGS, *CAMERA])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, world):
    context = browser.new_context()
    yield webrtc.page(context, world)
    context.close()


def codecs(source):
    out = subprocess.run(["ffprobe", "-v", "error", "-show_streams", "-of", "json", str(source)], capture_output=True, text=True, timeout=60)
    assert out.returncode == 0, out.stderr
    return {s["codec_name"] for s in json.loads(out.stdout)["streams"]}


@pytest.mark.parametrize("codec", SOURCES)
@pytest.mark.parametrize("way", ["RTSP", "PutMedia", "import"])
@pytest.mark.parametrize("out", ["HLS", "HLS with AAC", "MP4", "Matroska"])
def test_recordings(world, tmp_path, codec, way, out):
    name = world.stream(codec, way)
    want = {"h264" if codec in SOUND else NAMES[codec]}
    if codec in SOUND and (sound := OUT.get((codec, out), NAMES[codec])):
        want.add(sound)
    if out.startswith("HLS"):
        url = world.whole(name, audio="aac" if "AAC" in out else "asIs")
        said = world.http.get(url).text
        assert codecs(url) == want
        if codec in SOUND and len(want) == 1:
            # Refused with the reason and what would do.
            assert "is left out" in said and '"aac"' in said, said
    else:
        file = tmp_path / ("out.mp4" if out == "MP4" else "out.mkv")
        r = run("export", name, file, "--from", "0", "--data", world.data, "--json")
        assert r.returncode == 0, r.stderr
        assert codecs(file) == want and json.loads(r.stdout)["leftOut"] == []


@pytest.mark.parametrize("codec", SOURCES)
def test_live_by_whep(world, page, codec):
    name = world.stream(codec, "RTSP")
    key = f"{world.key}:{world.secret}"
    ask = lambda: webrtc.watch(page, world, name, key, sound=True)
    expected = WHEP[codec]
    if isinstance(expected, str):
        # B-frames are found out by watching.
        answer = wait_until("it is refused", lambda: (a := ask())["status"] != 201 and a)
        assert answer["status"] == 406 and expected in answer["text"] and "HLS" in answer["text"], answer
        return
    assert ask()["status"] == 201
    webrtc.decodes(page, 20)
    if codec in SOUND:
        if expected:
            wait_until("there is sound", lambda: webrtc.stats(page)["sound"] > 20)
        else:
            assert not webrtc.stats(page)["sound"], "the picture comes without sound"


@pytest.mark.parametrize("codec", ["VP8", "VP9", "AV1"])
def test_by_whip_what_is_not_kept_is_refused(world, page, codec):
    world.call("POST", "/v1/cameras", {"name": f"whip-{codec}", "source": {"kind": "push"}})
    answer = webrtc.publish(page, world, f"whip-{codec}", f"{world.key}:{world.secret}", f"video/{codec}")
    assert answer["status"] == 406 and codec in answer["text"] and "H.264" in answer["text"], answer


@pytest.mark.parametrize("out", ["HLS", "MP4", "Matroska", "WHEP"])
def test_by_whip_h264_and_opus(world, browser, tmp_path, out):
    name = f"whip-{out}"
    world.add_push(name)
    context = browser.new_context()
    page = webrtc.page(context, world)
    answer = webrtc.publish(page, world, name, f"{world.key}:{world.secret}", "video/H264")
    assert answer["status"] == 201, answer
    wait_until("it is recorded", lambda: any(s["name"] == name and s["recorded"] for s in world.call("GET", "/v1/streams")["streams"]) and len(world.fragments(name)) >= 3)
    if out == "WHEP":
        viewer = webrtc.page(context, world)
        assert webrtc.watch(viewer, world, name, f"{world.key}:{world.secret}", sound=True)["status"] == 201
        webrtc.decodes(viewer, 20)
        wait_until("there is sound", lambda: webrtc.stats(viewer)["sound"] > 20)
    elif out == "HLS":
        assert codecs(world.whole(name)) == {"h264", "opus"}
    else:
        file = tmp_path / ("out.mp4" if out == "MP4" else "out.mkv")
        r = run("export", name, file, "--from", "0", "--data", world.data, "--json")
        assert r.returncode == 0, r.stderr
        assert codecs(file) == {"h264", "opus"}
    context.close()
