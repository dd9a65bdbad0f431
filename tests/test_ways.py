"""Each way in × way out × codec: it plays, or is refused with the reason and what would do. The table of docs/webrtc.md, cell by cell."""

import contextlib
import datetime
import json
import subprocess

import pytest
import requests

from support import media, webrtc
from support.browser import FLAGS, play_hls, quality
from support.kvs import archived, put_clip, putting_live
from support.media import ffmpeg_publisher, pyav_publisher, running
from support.server import Server, run
from support.wait import wait_until
from test_kvs import client, refused
from test_ll_hls import near_live

CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--allow-loopback-in-peer-connection"]

#: How a clip with the codec is made: of pictures, and of sound beside them.
H264 = ("-c:v", "libx264", "-preset", "veryfast", "-bf", "0")
SOURCES = {
    "H.264": H264,
    "H.264 with B-frames": (*H264, "-bf", "2"),
    "H.265": ("-c:v", "libx265", "-preset", "veryfast", "-bf", "0", "-x265-params", "log-level=error", "-tag:v", "hvc1"),
    "VP8": ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8"),
    "VP9": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"),
    "AV1": ("-c:v", "libaom-av1", "-usage", "realtime", "-cpu-used", "8"),
    "Opus": (*H264, "-c:a", "libopus"),
    "G.711": (*H264, "-c:a", "pcm_mulaw", "-ar", "8000", "-ac", "1"),
    "AAC": (*H264, "-c:a", "aac"),
}
#: What ffprobe calls it where it comes out as it is.
NAMES = {"H.264": "h264", "H.264 with B-frames": "h264", "H.265": "hevc", "VP8": "vp8", "VP9": "vp9", "AV1": "av1", "Opus": "opus", "G.711": "pcm_mulaw", "AAC": "aac"}
SOUND = ("Opus", "G.711", "AAC")
WAYS = ("RTSP", "PutMedia", "import")
CELLS = [(codec, way) for codec in SOURCES for way in WAYS]

#: What comes out by files and by HLS, where it is not as it is: None is left out.
OUT = {
    ("G.711", "HLS"): None,
    ("G.711", "HLS with AAC"): "aac",
    ("Opus", "HLS with AAC"): "aac",
    # What AWS's sessions have no form for is made into what they have.
    ("G.711", "DASH"): "aac",
    ("G.711", "MPEG_TS"): "aac",
    ("Opus", "MPEG_TS"): "aac",
}
#: Pictures that AWS's sessions have no form for.
NONE = {"DASH": ("VP8",), "MPEG_TS": ("VP8", "VP9", "AV1")}
#: By WHEP, in Chromium: played, or refused with these words; of sound, whether it is sent.
WHEP = {
    "H.264": True,
    "H.264 with B-frames": "B-frames",
    "H.265": "HLS",
    "VP8": True,
    "VP9": True,
    "AV1": True,
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
            sound = codec in SOUND
            if codec not in made:
                path = folder / f"{NAMES[codec]}{len(made)}.mkv"
                inputs = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"] if sound else []
                media.ffmpeg("-y", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", *inputs, "-t", 8,
                             "-pix_fmt", "yuv420p", "-g", 25, *SOURCES[codec], path)
                made[codec] = path
            return made[codec]

        streams = {}

        def stream(codec, way):
            name = f"{way}-{NAMES[codec]}-{'b' if 'B-frames' in codec else 'p'}".replace(" ", "")
            if name not in streams:
                if way == "RTSP":
                    # Of VP9 FFmpeg says that its form in RTP is an experiment; Debian's sends no AV1.
                    experiment = ("-strict", "experimental") if codec == "VP9" else ()
                    url = server.publish_url(name)
                    publisher = pyav_publisher(clip(codec), url, loop=True) if codec == "AV1" else ffmpeg_publisher(clip(codec), url, loop=True, extra=experiment)
                    stack.enter_context(running(publisher))
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

        @contextlib.contextmanager
        def live(codec, way):
            """The name of a stream to which somebody publishes."""
            if way == "RTSP":
                yield stream(codec, way)
                return
            name = f"live-{NAMES[codec]}-{'b' if 'B-frames' in codec else 'p'}"
            client(server).create_stream(StreamName=name, DataRetentionInHours=24)
            with putting_live(server, name, clip(codec)) as p:
                p.wait("PERSISTED")
                yield name

        server.stream, server.live_stream = stream, live
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


def has_no_playlist(server, url, sound=()):
    """VP8: no browser plays it but by WebRTC, and what would do is named; the sound there is is played."""
    answer = server.http.get(url)
    assert answer.status_code == (200 if sound else 404) and "VP8" in answer.text and "WHEP" in answer.text and "export" in answer.text, answer.text
    assert not sound or codecs(url) == set(sound)


def aws_session(server, name, out):
    """The URL of all that is recorded, as AWS's clients ask for it."""
    recorded = server.call("GET", f"/v1/streams/{name}")["recorded"]
    between = {"StartTimestamp": recorded["from"], "EndTimestamp": recorded["to"]}
    kind = "DASH" if out == "DASH" else "HLS"
    ask = {"PlaybackMode": "ON_DEMAND", f"{kind}FragmentSelector": {"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": between}}
    if kind == "DASH":
        return archived(server).get_dash_streaming_session_url(StreamName=name, **ask)["DASHStreamingSessionURL"]
    return archived(server).get_hls_streaming_session_url(StreamName=name, ContainerFormat=out, **ask)["HLSStreamingSessionURL"]


@pytest.mark.parametrize("codec,way", CELLS)
@pytest.mark.parametrize("out", ["HLS", "HLS with AAC", "DASH", "MPEG_TS", "MP4", "Matroska"])
def test_recordings(world, tmp_path, codec, way, out):
    name = world.stream(codec, way)
    want = {"h264" if codec in SOUND else NAMES[codec]}
    if codec in SOUND and (sound := OUT.get((codec, out), NAMES[codec])):
        want.add(sound)
    if out.startswith("HLS"):
        url = world.whole(name, audio="aac" if "AAC" in out else "asIs")
        if codec == "VP8":
            return has_no_playlist(world, url)
        said = world.http.get(url).text
        assert codecs(url) == want
        if codec in SOUND and len(want) == 1:
            # Refused with the reason and what would do.
            assert "is left out" in said and '"aac"' in said, said
    elif out in NONE:
        if codec in NONE[out]:
            code, status, said = refused(lambda: aws_session(world, name, out))
            assert (code, status) == ("UnsupportedStreamMediaTypeException", 400) and "GetMedia" in said and (out == "DASH" or "FRAGMENTED_MP4" in said), said
            return
        assert codecs(aws_session(world, name, out)) == want
    else:
        file = tmp_path / ("out.mp4" if out == "MP4" else "out.mkv")
        r = run("export", name, file, "--from", "0", "--data", world.data, "--json")
        assert r.returncode == 0, r.stderr
        assert codecs(file) == want and json.loads(r.stdout)["leftOut"] == []


@pytest.mark.parametrize("codec,way", [(codec, way) for codec in WHEP for way in ("RTSP", "PutMedia")])
def test_live_by_whep(world, page, codec, way):
    with world.live_stream(codec, way) as name:
        watched(world, page, codec, name)


def watched(world, page, codec, name):
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


def test_what_was_only_imported_is_not_live(world, page):
    name = world.stream("H.264", "import")
    answer = webrtc.watch(page, world, name, f"{world.key}:{world.secret}")
    assert answer["status"] == 409 and "NotLive" in answer["text"] and name in answer["text"], answer


def plays(page, url):
    """hls.js plays it, in a browser."""
    play_hls(page, url)
    wait_until("it plays", lambda: quality(page, "video")["frames"] >= 25 or page.evaluate("window.failed.length"), 60)
    assert page.evaluate("window.failed") == []


@pytest.mark.parametrize("codec,way", [(codec, way) for codec, way in CELLS if codec in ("VP9", "AV1")])
def test_recordings_in_a_browser(world, page, codec, way):
    plays(page, world.whole(world.stream(codec, way)))


@pytest.mark.parametrize("codec", ["H.264 with B-frames", "VP9", "AV1"])
def test_live_by_low_latency_hls(world, browser, codec):
    near_live(browser, world, world.stream(codec, "RTSP"))


@pytest.mark.parametrize("codec", ["H.264", "VP8", "VP9", "AV1"])
def test_by_whip(world, browser, tmp_path, codec):
    """A browser's camera, with sound: another watches it live; then it is played, exported, and read by GetMedia."""
    name, want = f"whip-{NAMES[codec]}", {NAMES[codec], "opus"}
    key = f"{world.key}:{world.secret}"
    world.add_push(name)
    with contextlib.closing(browser.new_context()) as context:
        camera = webrtc.page(context, world)
        answer = webrtc.publish(camera, world, name, key, f"video/{codec.replace('.', '')}")
        assert answer["status"] == 201, answer
        viewer = webrtc.page(context, world)
        wait_until("somebody publishes", lambda: world.camera(name)["state"] == "running")
        assert webrtc.watch(viewer, world, name, key, sound=True)["status"] == 201
        seen = webrtc.decodes(viewer, 20)
        assert seen["codec"] == f"video/{codec.replace('.', '')}"
        wait_until("there is sound", lambda: webrtc.stats(viewer)["sound"] > 20)
        still = world.request("GET", f"/v1/streams/{name}/still.jpg")
        assert still.ok and still.content[:3] == b"\xff\xd8\xff", still.content[:300]
        # Who has another codec alone is refused, and told what would do.
        other = webrtc.watch(webrtc.page(context, world), world, name, key, codec="video/VP8" if codec == "H.264" else "video/H264")
        assert other["status"] == 406 and codec in other["text"] and ("export" if codec == "VP8" else "HLS") in other["text"], other
        wait_until("it is recorded", lambda: len(world.fragments(name)) >= 3)
        # Fragments begin with key frames, which the publisher was asked for.
        assert webrtc.stats(camera)["plis"] >= 2 and all(f["keyFrame"] for f in world.fragments(name))
        requests.delete(world.url + answer["location"], timeout=20).raise_for_status()
        world.quiet(name)
        if codec == "VP8":
            has_no_playlist(world, world.whole(name), ["opus"])
        else:
            assert codecs(world.whole(name)) == want
            plays(webrtc.page(context, world), world.whole(name))
    stored = sorted(archived(world).list_fragments(StreamName=name)["Fragments"], key=lambda f: f["ProducerTimestamp"])
    # Of VP8 and VP9 the key frame before it.
    between = stored[0]["ProducerTimestamp"] + datetime.timedelta(milliseconds=500)
    images = archived(world).get_images(StreamName=name, ImageSelectorType="PRODUCER_TIMESTAMP", StartTimestamp=between, EndTimestamp=between, Format="JPEG")["Images"]
    assert [i.get("Error") for i in images] == [None]
    numbers = [f["FragmentNumber"] for f in stored]
    got = tmp_path / "media.mkv"
    got.write_bytes(archived(world).get_media_for_fragment_list(StreamName=name, Fragments=sorted(numbers))["Payload"].read())
    files = [got]
    for form in ("mp4", "mkv"):
        files.append(tmp_path / f"out.{form}")
        r = run("export", name, files[-1], "--from", "0", "--data", world.data, "--json")
        assert r.returncode == 0, r.stderr
    for file in files:
        assert codecs(file) == want and media.packets(file) >= 40
        media.ffmpeg("-xerror", "-err_detect", "explode", "-i", file, "-map", "0:v", "-f", "null", "-")


@pytest.mark.parametrize("law,name", [("PCMU", "pcm_mulaw"), ("PCMA", "pcm_alaw")])
def test_telephone_sound_by_whip(world, browser, tmp_path, law, name):
    """A browser that sends G.711: another hears it as it is, it is exported as it is, and playlists have it as AAC."""
    stream, key = f"whip-{law.lower()}", f"{world.key}:{world.secret}"
    world.add_push(stream)
    with contextlib.closing(browser.new_context()) as context:
        answer = webrtc.publish(webrtc.page(context, world), world, stream, key, "video/H264", heard=f"audio/{law}")
        assert answer["status"] == 201, answer
        viewer = webrtc.page(context, world)
        wait_until("somebody publishes", lambda: world.camera(stream)["state"] == "running")
        assert webrtc.watch(viewer, world, stream, key, sound=True)["status"] == 201
        heard = wait_until("there is sound", lambda: (s := webrtc.stats(viewer))["sound"] > 20 and s)
        assert heard["heard"] == f"audio/{law}"
        wait_until("it is recorded", lambda: len(world.fragments(stream)) >= 2)
        requests.delete(world.url + answer["location"], timeout=20).raise_for_status()
        world.quiet(stream)
    assert codecs(world.whole(stream)) == {"h264"} and codecs(world.whole(stream, audio="aac")) == {"h264", "aac"}
    for form in ("mp4", "mkv"):
        file = tmp_path / f"out.{form}"
        r = run("export", stream, file, "--from", "0", "--data", world.data, "--json")
        assert r.returncode == 0, r.stderr
        assert codecs(file) == {"h264", name} and media.packets(file, "a") >= 40
