"""GetClip and GetImages: the pictures that were put, at the very times."""

import base64
import subprocess

import pytest

from support import media as recorded
from support.kvs import T0, archived, loose, put_clip, starts
from support.putmedia import PutMedia, fragment, header
from support.putmedia import track as declared
from support.server import Server
from test_kvs import client, refused

FPS, SECONDS = 25, 6


@pytest.fixture(scope="module")
def kvs(tmp_path_factory, clips):
    """A server whose stream `s` has a clip with sound and B-frames, in fragments of a second; `mute` has its pictures."""
    with Server(tmp_path_factory.mktemp("clips") / "data") as server:
        client(server).create_stream(StreamName="s", DataRetentionInHours=24)
        server.clip = clips(seconds=SECONDS, audio=True, extra=("-bf", "2"))
        server.mute = clips(seconds=SECONDS, extra=("-bf", "2"))
        client(server).create_stream(StreamName="mute", DataRetentionInHours=24)
        put_clip(server, "s", server.clip), put_clip(server, "mute", server.mute)
        server.starts = starts(server, "s")
        yield server


def between(a, b, kind="PRODUCER_TIMESTAMP"):
    return {"FragmentSelectorType": kind, "TimestampRange": {"StartTimestamp": T0 / 1000 + a, "EndTimestamp": T0 / 1000 + b}}


def clip(server, selector, stream="s"):
    return archived(server).get_clip(StreamName=stream, ClipFragmentSelector=selector)


def test_a_clip_has_the_pictures_that_were_put(kvs, tmp_path):
    want = recorded.frames(kvs.clip)
    answer = clip(kvs, between(-1, 100))
    assert answer["ContentType"] == "video/mp4"
    file = tmp_path / "clip.mp4"
    file.write_bytes(answer["Payload"].read())
    assert file.read_bytes().index(b"moov") < file.read_bytes().index(b"mdat")
    recorded.silent(file)
    assert recorded.frames(file) == want and recorded.packets(file, "a") > SECONDS * 40
    # Whole fragments: those that begin within the range, its ends included.
    file.write_bytes(clip(kvs, between((kvs.starts[1] - T0) / 1000, (kvs.starts[3] - T0) / 1000 + 0.5))["Payload"].read())
    assert recorded.frames(file) == want[FPS:4 * FPS]


def test_what_is_no_clip(kvs):
    get = loose(kvs).get_clip
    said = lambda selector, stream="s": refused(get, StreamName=stream, ClipFragmentSelector=selector)[:2]
    invalid = ("InvalidArgumentException", 400)
    assert said(between(3, 3)) == said(between(0, 24 * 3600 + 1)) == said({"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": {"StartTimestamp": 4e9, "EndTimestamp": 1}}) == invalid
    assert said(between(50, 60)) == ("ResourceNotFoundException", 404)
    assert said(between(0, 1), "nobody") == ("ResourceNotFoundException", 404)
    video = client(kvs)
    video.create_stream(StreamName="none")
    assert said(between(0, 1), "none") == ("NoDataRetentionException", 400)
    video.create_stream(StreamName="bare", DataRetentionInHours=1)
    PutMedia(kvs, "bare").send(header(declared(1))).send(fragment(T0)).finish()
    assert said(between(0, 1), "bare") == ("MissingCodecPrivateDataException", 400)
    video.create_stream(StreamName="long", DataRetentionInHours=1)
    p = PutMedia(kvs, "long").send(header())
    for n in range(201):
        p.send(fragment(T0 + n * 1000, frames=1))
    p.finish()
    assert said(between(0, 1000), "long") == ("ClientLimitExceededException", 400)
    assert clip(kvs, between(0, 199), "long")["Payload"].read(12)[4:8] == b"ftyp"


def test_a_clip_has_what_no_playlist_has(server, tmp_path):
    """VP8, as playlists that leave it out say."""
    client(server).create_stream(StreamName="vp8", DataRetentionInHours=1)
    webm = tmp_path / "a.webm"
    recorded.ffmpeg("-f", "lavfi", "-i", f"testsrc2=size=320x180:rate={FPS}", "-t", "3", "-c:v", "libvpx", "-auto-alt-ref", "0", "-g", str(FPS), "-y", webm)
    put_clip(server, "vp8", webm)
    file = tmp_path / "clip.mp4"
    file.write_bytes(clip(server, between(0, 10), "vp8")["Payload"].read())
    assert recorded.frames(file) == recorded.frames(webm)
    refusal = refused(loose(server).get_hls_streaming_session_url, StreamName="vp8", PlaybackMode="ON_DEMAND", HLSFragmentSelector=between(0, 10))
    assert refusal[0] == "UnsupportedStreamMediaTypeException" and "VP8 by GetClip" in refusal[2]


def images(server, a, b, stream="mute", by=archived, **more):
    asked = {"ImageSelectorType": "PRODUCER_TIMESTAMP", "Format": "PNG", "SamplingInterval": 200, **more}
    return by(server).get_images(StreamName=stream, StartTimestamp=T0 / 1000 + a, EndTimestamp=T0 / 1000 + b, **asked)


def pixels(data, size="320x180"):
    """As RGB, by FFmpeg."""
    r = subprocess.run([*recorded.FFMPEG, "-i", "pipe:0", "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"], input=data, capture_output=True, timeout=60, check=True)
    return r.stdout


def near(a, b):
    """The mean difference of two pictures."""
    assert len(a) == len(b)
    return sum(abs(x - y) for x, y in zip(a[::7], b[::7])) / len(a[::7])


def of_the_very_moment(server, clip, stream="mute"):
    whole = recorded.ffmpeg("-i", clip, "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1")
    size = 320 * 180 * 3
    frames = [whole[i:i + size] for i in range(0, len(whole), size)]
    got = images(server, 0.42, 2.42, stream)["Images"]
    assert [round(i["TimeStamp"].timestamp() * 1000) for i in got] == [T0 + 420 + 200 * n for n in range(10)]
    for i in got:
        n = int((i["TimeStamp"].timestamp() - T0 / 1000) * FPS + 0.01)
        made = pixels(base64.b64decode(i["ImageContent"]))
        distances = [near(made, frames[k]) for k in (n - 1, n, n + 1)]
        assert distances[1] == min(distances) < 5, f"frame {n}: {distances}"


#: Pictures that are decoded before others which are shown earlier; of AV1 also such as are shown later by a header alone.
REORDERED = {"H.265": ("libx265", ("-bf", "2", "-x265-params", "log-level=error")), "AV1": ("libaom-av1", ("-cpu-used", "8", "-lag-in-frames", "19"))}


@pytest.mark.parametrize("codec", REORDERED)
def test_images_of_other_codecs(kvs, clips, codec):
    encoder, how = REORDERED[codec]
    made = clips(seconds=4, codec=encoder, extra=how)
    client(kvs).create_stream(StreamName=codec, DataRetentionInHours=24)
    put_clip(kvs, codec, made)
    of_the_very_moment(kvs, made, codec)


def test_images_are_of_the_very_moment(kvs):
    of_the_very_moment(kvs, kvs.mute)
    # Another size, JPEG; in pages.
    first = images(kvs, 0, 3, Format="JPEG", FormatConfig={"JPEGQuality": "50"}, WidthPixels=160, HeightPixels=160, MaxResults=10)
    data = base64.b64decode(first["Images"][0]["ImageContent"])
    assert data[:2] == b"\xff\xd8" and len(pixels(data)) == 160 * 160 * 3
    second = images(kvs, 0, 3, Format="JPEG", MaxResults=10, NextToken=first["NextToken"])
    assert len(first["Images"]) == 10 and len(second["Images"]) == 5 and "NextToken" not in second
    assert second["Images"][0]["TimeStamp"].timestamp() == pytest.approx(T0 / 1000 + 2, abs=0.002)
    # By the server's clock: what was there then.
    came = archived(kvs).list_fragments(StreamName="mute")["Fragments"][2]["ServerTimestamp"]
    one = archived(kvs).get_images(StreamName="mute", ImageSelectorType="SERVER_TIMESTAMP", StartTimestamp=came, EndTimestamp=came, Format="JPEG")["Images"]
    assert len(one) == 1


def test_where_there_is_no_image(kvs):
    got = images(kvs, SECONDS - 0.5, SECONDS + 1, SamplingInterval=500)["Images"]
    assert [i.get("Error") for i in got] == [None, "NO_MEDIA", "NO_MEDIA"]
    seldom = images(kvs, 0, 45, SamplingInterval=40_000)["Images"]
    assert [(i["TimeStamp"].timestamp() - T0 / 1000, i.get("Error")) for i in seldom] == [(0, None), (40, "NO_MEDIA")]
    client(kvs).create_stream(StreamName="broken", DataRetentionInHours=1)
    PutMedia(kvs, "broken").send(header()).send(fragment(T0)).finish()
    assert [i["Error"] for i in images(kvs, 0, 0.3, "broken")["Images"]] == ["MEDIA_ERROR"] * 2
    said = lambda a=0, b=1, **k: refused(images, server=kvs, a=a, b=b, by=loose, **k)[0]
    assert said(b=301) == said(a=2) == said(SamplingInterval=199) == said(WidthPixels=100) == "InvalidArgumentException"
    assert said(FormatConfig={"JPEGQuality": "70"}) == said(Format="JPEG", FormatConfig={"JPEGQuality": "101"}) == "InvalidArgumentException"
    assert said(NextToken="abcd") == "InvalidArgumentException"
    client(kvs).create_stream(StreamName="nothing")
    assert said(stream="nothing") == "NoDataRetentionException"
