"""GetHLSStreamingSessionURL and GetDASHStreamingSessionURL: what they answer, what players make of it, and who may see what."""

import array
import html
import re
from fractions import Fraction
from urllib.parse import urljoin
from xml.etree import ElementTree

import pytest
import requests

from support import media as recorded
from support.browser import page_of, play_hls, quality
from support.kvs import T0, archived, loose, put_clip, starts
from support.m3u8 import Playlist, attributes
from support.putmedia import END_OF_FRAGMENT, PutMedia, cluster, fragment, header
from support.putmedia import track as declared
from support.server import Server
from support.wait import wait_until
from test_kvs import client, refused

SECONDS = 8


@pytest.fixture(scope="module")
def kvs(tmp_path_factory, clips):
    """A server whose stream `s` has a clip with sound, in fragments of a second."""
    with Server(tmp_path_factory.mktemp("play") / "data") as server:
        client(server).create_stream(StreamName="s", DataRetentionInHours=24)
        server.clip = clips(seconds=SECONDS, audio=True)
        server.numbers, server.starts = put_clip(server, "s", server.clip), starts(server, "s")
        assert len(server.numbers) == SECONDS
        yield server


def whole(kind="HLS", **more):
    times = {"StartTimestamp": T0 / 1000 - 10, "EndTimestamp": T0 / 1000 + 1000}
    return {"PlaybackMode": "ON_DEMAND", f"{kind}FragmentSelector": {"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": times}, **more}


def hls(server, stream="s", **asked):
    return archived(server).get_hls_streaming_session_url(StreamName=stream, **asked)["HLSStreamingSessionURL"]


def dash(server, stream="s", **asked):
    return archived(server).get_dash_streaming_session_url(StreamName=stream, **asked)["DASHStreamingSessionURL"]


def master(url):
    r = requests.get(url, timeout=30)
    assert r.ok and r.headers["content-type"] == "application/vnd.apple.mpegurl", r.text
    assert r.headers["access-control-allow-origin"] == "*"
    return r.text


def playlists(url):
    """The video's and the sound's."""
    lines = master(url).splitlines()
    video = next(lines[i + 1] for i, l in enumerate(lines) if l.startswith("#EXT-X-STREAM-INF"))
    sound = [attributes(l)["URI"] for l in lines if l.startswith("#EXT-X-MEDIA:")]
    return [urljoin(url, u) for u in [video, *sound]]


def read(url):
    r = requests.get(url, timeout=30)
    assert r.ok, f"{r.status_code} {r.text}"
    return Playlist(url, r.text)


def number(segment):
    return re.search(r"FragmentNumber=(\d{47})", segment.uri)[1]


def test_all_of_a_range_in_the_services_shapes(kvs):
    url = hls(kvs, **whole())
    assert url.startswith(kvs.url + "/hls/v1/getHLSMasterPlaylist.m3u8?SessionToken=")
    text = master(url)
    variant = attributes(next(l for l in text.splitlines() if l.startswith("#EXT-X-STREAM-INF")))
    assert variant["CODECS"].startswith("avc1.") and variant["CODECS"].endswith(",mp4a.40.2") and variant["RESOLUTION"] == "320x180"
    assert float(variant["FRAME-RATE"]) == 25 and int(variant["BANDWIDTH"]) > 10_000
    video, sound = playlists(url)
    assert "getHLSMediaPlaylist.m3u8?SessionToken=" in video and video.endswith("&TrackNumber=1") and sound.endswith("&TrackNumber=2")
    for p in map(read, (video, sound)):
        assert p.kind == "VOD" and p.ended and abs(p.length - SECONDS) < 0.2 and p.target == 1
        assert [number(s) for s in p.segments] == kvs.numbers
        assert p.text.count("#EXT-X-MAP:") == 1 and "#EXT-X-DISCONTINUITY\n" not in p.text and "PROGRAM-DATE-TIME" not in p.text
        assert "getMP4InitFragment.mp4" in p.segments[0].init
        assert "getMP4MediaFragment.mp4" in p.segments[0].uri
    init = requests.get(p.segments[0].init, timeout=30)
    assert init.content[4:8] == b"ftyp" and b"moov" in init.content
    part = requests.get(p.segments[0].uri, headers={"Range": "bytes=0-99"}, timeout=30)
    assert part.status_code == 206 and part.content[4:8] == b"moof"


def test_players_see_the_pictures_that_were_put(kvs):
    want = recorded.frames(kvs.clip)
    assert recorded.frames(hls(kvs, **whole())) == want
    assert recorded.frames(dash(kvs, **whole("DASH"))) == want
    # And after a restart: sessions are their tokens.
    url = hls(kvs, **whole())
    kvs.restart()
    assert recorded.frames(url.replace(url.split("/hls/")[0], kvs.url)) == want


def test_transport_streams_have_all_tracks(kvs):
    url = hls(kvs, **whole(ContainerFormat="MPEG_TS"))
    text = master(url)
    assert text.count("#EXT-X-STREAM-INF") == 1 and "#EXT-X-MEDIA:" not in text
    p = read(playlists(url)[0])
    assert [number(s) for s in p.segments] == kvs.numbers and "EXT-X-MAP" not in p.text
    segment = requests.get(p.segments[0].uri, timeout=30)
    assert segment.headers["content-type"] == "video/mp2t" and len(segment.content) % 188 == 0 and segment.content[0] == 0x47
    assert recorded.frames(url) == recorded.frames(kvs.clip)
    assert recorded.packets(url, "a") == recorded.packets(kvs.clip, "a")


def test_sound_that_has_no_form_comes_as_aac(kvs, tmp_path):
    """G.711, which MP4 and transport streams are not played with: without seams, and where the manifest says that it is."""
    clip = tmp_path / "g711.mkv"
    recorded.ffmpeg("-y", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=8000", "-t", SECONDS,
                    "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", 25, "-bf", 0, "-c:a", "pcm_mulaw", clip)
    client(kvs).create_stream(StreamName="phone", DataRetentionInHours=1)
    put_clip(kvs, "phone", clip)
    urls = [hls(kvs, "phone", **whole()), hls(kvs, "phone", **whole(ContainerFormat="MPEG_TS")), dash(kvs, "phone", **whole("DASH"))]
    for url in urls:
        said = requests.get(url, timeout=30).text
        assert "mp4a.40.2" in said and "left out" not in said
        # FFmpeg ends DASH with the track that ends first: the sound, by two packets.
        shown, want = recorded.frames(url), recorded.frames(clip)
        assert shown == want[:len(shown)] and len(want) - len(shown) <= (7 if "/dash/" in url else 0)
        loud = array.array("h", recorded.ffmpeg("-i", url, "-map", "0:a:0", "-ac", 1, "-ar", 8000, "-f", "s16le", "pipe:1"))
        assert abs(len(loud) / 8000 - SECONDS) < 0.5
        # Of each twentieth of a second but at the ends.
        powers = [sum(x * x for x in loud[i:i + 400]) / 400 for i in range(4000, len(loud) - 6000, 400)]
        assert min(powers) > 0.7 * max(powers) > 1e5, "there are holes"
    track = requests.get(urls[2], timeout=30).text.split("<AdaptationSet ")[2]
    assert 'timescale="8000"' in track and 'audioSamplingRate="8000"' in track
    segments = [html.unescape(u) for u in re.findall(r'<SegmentURL media="([^"]+)"', track)]
    listed = [(int(t), int(d)) for t, d in re.findall(r'<S t="(\d+)" d="(\d+)"', track)]
    assert len(segments) == len(listed) == SECONDS
    assert all(t + d == after for (t, d), (after, _) in zip(listed, listed[1:]))
    for uri, (t, d) in zip(segments, listed):
        made = requests.get(urljoin(urls[2], uri), timeout=30).content
        at = made.index(b"tfdt")
        assert made[at + 4] == 1 and int.from_bytes(made[at + 8:at + 16], "big") == t
        at = made.index(b"trun")
        assert int.from_bytes(made[at + 8:at + 12], "big") * 1024 == d


def test_what_is_left_out_is_named_with_what_would_do(kvs):
    client(kvs).create_stream(StreamName="mixed", DataRetentionInHours=1)
    sound = declared(2, "A_AAC", 2, bytes.fromhex("1588"))
    p = PutMedia(kvs, "mixed").send(header(declared(1, "V_VP8"), sound))
    p.send(cluster(T0, [(1, 0, b"\x10\x02\x00\x9d\x01\x2a\x40\x01\xf0\x00" + b"x" * 50, True), *((2, n * 20, b"\x21\x10\x04\x60\x8c\x1c", True) for n in range(10))])).finish()
    for url in (hls(kvs, "mixed", **whole()), hls(kvs, "mixed", **whole(ContainerFormat="MPEG_TS")), dash(kvs, "mixed", **whole("DASH"))):
        said = requests.get(url, timeout=30).text
        assert re.search(r"track 1 \(VP8\) is left out: .*WHEP.*GetClip.*GetMedia", said) and "session with" not in said, said
    ElementTree.fromstring(said)


def test_discontinuities_times_and_how_many(kvs):
    of = lambda **more: read(playlists(hls(kvs, **whole(**more)))[0])
    assert of(DiscontinuityMode="ALWAYS").text.count("#EXT-X-DISCONTINUITY\n") == len(kvs.numbers) - 1
    assert of(DiscontinuityMode="ON_DISCONTINUITY").text.count("#EXT-X-DISCONTINUITY\n") == 0
    dated = of(DisplayFragmentTimestamp="ALWAYS", MaxMediaPlaylistFragmentResults=3)
    assert [number(s) for s in dated.segments] == kvs.numbers[:3]
    assert [round(s.time.timestamp() * 1000) for s in dated.segments] == kvs.starts[:3]
    came = [f["ServerTimestamp"] for f in archived(kvs).list_fragments(StreamName="s")["Fragments"]]
    by_server = {"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": {"StartTimestamp": came[0], "EndTimestamp": came[-1]}}
    p = read(playlists(hls(kvs, PlaybackMode="ON_DEMAND", HLSFragmentSelector=by_server, DisplayFragmentTimestamp="ALWAYS"))[0])
    assert p.text.count("#EXT-X-DISCONTINUITY\n") == len(p.segments) - 1 == len(kvs.numbers) - 1, "the default by the server's clock"
    assert [round(s.time.timestamp() * 1000) for s in p.segments] == [round(t.timestamp() * 1000) for t in came]
    ranged = {"TimestampRange": by_server["TimestampRange"]}
    usual = read(playlists(hls(kvs, PlaybackMode="ON_DEMAND", HLSFragmentSelector=ranged, DisplayFragmentTimestamp="ALWAYS"))[0])
    assert usual.text.count("#EXT-X-DISCONTINUITY\n") == len(kvs.numbers) - 1 and [s.time for s in usual.segments] == [s.time for s in p.segments], "whose clock is used unless said otherwise"
    text = requests.get(dash(kvs, PlaybackMode="ON_DEMAND", DASHFragmentSelector=ranged, DisplayFragmentTimestamp="ALWAYS"), timeout=30).text
    assert [float(t) for t in re.findall(r'kvs:ts="([\d.]+)"', text)[: len(came)]] == [t.timestamp() for t in came]
    replay = read(playlists(hls(kvs, PlaybackMode="LIVE_REPLAY", HLSFragmentSelector=ranged))[0])
    assert number(replay.segments[0]) == kvs.numbers[0]
    # A range is held against where fragments begin; both ends are part of it.
    times = {"StartTimestamp": kvs.starts[1] / 1000, "EndTimestamp": kvs.starts[3] / 1000}
    some = {"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": times}
    p = read(playlists(hls(kvs, PlaybackMode="ON_DEMAND", HLSFragmentSelector=some))[0])
    assert [number(s) for s in p.segments] == kvs.numbers[1:4]
    outside = re.sub(r"FragmentNumber=\d+", "FragmentNumber=" + kvs.numbers[5], p.segments[0].uri)
    assert requests.get(outside, timeout=30).status_code == 404, "a token shows its own range"


def test_dash_manifests(kvs):
    text = requests.get(dash(kvs, **whole("DASH", DisplayFragmentTimestamp="ALWAYS", DisplayFragmentNumber="ALWAYS")), timeout=30).text
    assert 'type="static"' in text and text.count("<Period ") == 1 and text.count("<AdaptationSet ") == 2
    assert re.findall(r'kvs:fn="(\d+)"', text) == kvs.numbers * 2
    assert re.findall(r'kvs:ts="([\d.]+)"', text)[:2] == ["%d.%03d" % divmod(t, 1000) for t in kvs.starts[:2]]
    # The last segment of each track ends no later than the whole is said to: players stop there.
    whole_of = Fraction(re.search(r'mediaPresentationDuration="PT([\d.]+)S"', text)[1])
    for track in text.split("<AdaptationSet ")[1:]:
        scale, offset = (int(re.search(rf'{name}="(\d+)"', track)[1]) for name in ("timescale", "presentationTimeOffset"))
        at, lasts = re.findall(r'<S t="(\d+)" d="(\d+)"', track)[-1]
        assert Fraction(int(at) - offset + int(lasts), scale) <= whole_of
    text = requests.get(dash(kvs, **whole("DASH", MaxManifestFragmentResults=2)), timeout=30).text
    assert "kvs:" not in text.replace("xmlns:kvs", "") and text.count("<S ") == 4


def test_ffmpeg_opens_manifests_at_addresses_of_any_length(kvs, clips):
    """It has room for a segment's address by the length of the manifest's, in steps of 64 letters."""
    client(kvs).create_stream(StreamName="mute", DataRetentionInHours=1)
    put_clip(kvs, "mute", clips(seconds=2))
    url = dash(kvs, "mute", **whole("DASH"))
    for more in range(1, 65, 9):
        assert recorded.packets(url.replace("://", f"://{'u' * more}@")) == 50


def test_what_is_wrong_is_refused(kvs):
    ask = loose(kvs).get_hls_streaming_session_url
    video = client(kvs)
    said = lambda **k: refused(ask, **k)[:2]
    invalid = ("InvalidArgumentException", 400)
    start, end = T0 / 1000, T0 / 1000 + 5
    ranged = lambda mode="ON_DEMAND", kind="PRODUCER_TIMESTAMP", **t: {"StreamName": "s", "PlaybackMode": mode, "HLSFragmentSelector": {"FragmentSelectorType": kind, "TimestampRange": t}}
    assert said(StreamName="s", Expires=299) == said(StreamName="s", Expires=43201) == invalid
    assert said(StreamName="s", MaxMediaPlaylistFragmentResults=5001) == invalid
    assert said(StreamName="s", PlaybackMode="ON_DEMAND") == said(StreamName="s", PlaybackMode="LIVE_REPLAY") == invalid
    for lacking in ({}, {"FragmentSelectorType": "SERVER_TIMESTAMP"}, {"TimestampRange": {}}):
        assert said(StreamName="s", PlaybackMode="ON_DEMAND", HLSFragmentSelector=lacking) == invalid
    assert said(**ranged("LIVE", StartTimestamp=start)) == invalid
    assert said(**ranged(StartTimestamp=start)) == invalid
    assert said(**ranged(StartTimestamp=end, EndTimestamp=start)) == invalid
    assert said(**ranged(StartTimestamp=start, EndTimestamp=start + 24 * 3600 + 1)) == invalid
    assert said(**ranged(kind="SERVER_TIMESTAMP", StartTimestamp=4e9, EndTimestamp=4e9 + 5)) == invalid
    assert said() == invalid
    missing = ("ResourceNotFoundException", 404)
    assert said(StreamName="nobody") == missing
    assert said(**ranged(StartTimestamp=start - 1000, EndTimestamp=start - 900)) == missing
    video.create_stream(StreamName="empty", DataRetentionInHours=1)
    assert said(StreamName="empty") == missing, "nothing in the last 30 seconds"
    video.create_stream(StreamName="none")
    assert said(StreamName="none") == ("NoDataRetentionException", 400)
    for name, code, tracks in [
        ("bare", "MissingCodecPrivateDataException", [declared(1)]),
        ("wrong", "InvalidCodecPrivateDataException", [declared(1, private=b"\1\2\3")]),
        ("other", "UnsupportedStreamMediaTypeException", [declared(1, "V_NOBODY/KNOWS", private=b"\1")]),
    ]:
        video.create_stream(StreamName=name, DataRetentionInHours=1)
        PutMedia(kvs, name).send(header(*tracks)).send(fragment(T0)).finish()
        assert said(StreamName=name) == (code, 400)


def test_tokens_are_of_one_session(kvs):
    url = hls(kvs, **whole())
    token = url.split("SessionToken=")[1]
    get = lambda u: requests.get(u, timeout=30).status_code
    assert get(url) == 200
    assert get(url[:-1] + ("A" if url[-1] != "A" else "B")) == 403
    assert get(kvs.url + "/dash/v1/getDASHManifest.mpd?SessionToken=" + token) == 403, "of another kind"
    assert get(kvs.url + f"/hls/{token}/main.m3u8") == 403
    assert get(url.split("?")[0]) == 400
    client(kvs).create_stream(StreamName="gone", DataRetentionInHours=1)
    PutMedia(kvs, "gone").send(header()).send(fragment(T0)).finish()
    of_gone = hls(kvs, "gone")
    assert get(of_gone) == 200
    arn = client(kvs).describe_stream(StreamName="gone")["StreamInfo"]["StreamARN"]
    client(kvs).delete_stream(StreamARN=arn)
    client(kvs).create_stream(StreamName="gone", DataRetentionInHours=1)
    assert get(of_gone) == 404, "another stream of the same name"


def test_of_fragments_that_begin_together_the_newest_plays(kvs):
    client(kvs).create_stream(StreamName="twice", DataRetentionInHours=1)
    put = lambda *at, seed: [a["FragmentNumber"] for a in (lambda p: (p.send(header()), [p.send(fragment(T0 + t, seed=seed)) for t in at], p.finish(), p.of("PERSISTED"))[3])(PutMedia(kvs, "twice"))]
    first = put(0, 1000, 2000, seed=0)
    again = put(1000, 3000, seed=50)
    shown = lambda **k: [number(s) for s in read(playlists(hls(kvs, "twice", **k))[0]).segments]
    assert shown(**whole()) == [first[0], again[0], first[2], again[1]]
    # Live goes on only: what is older than what is shown is not added.
    live = {"PlaybackMode": "LIVE", "HLSFragmentSelector": {"FragmentSelectorType": "PRODUCER_TIMESTAMP"}}
    assert shown(**live) == [*first, again[1]]
    assert shown(PlaybackMode="LIVE") == [*first, *again], "by the server's clock all of them"


def test_live_sessions_slide(kvs):
    client(kvs).create_stream(StreamName="live", DataRetentionInHours=1)
    p = PutMedia(kvs, "live").send(header())
    for n in range(4):
        p.send(fragment(T0 + n * 1000)).send(END_OF_FRAGMENT)
    p.wait("PERSISTED", 4)
    url = playlists(hls(kvs, "live", MaxMediaPlaylistFragmentResults=3))[0]
    mpd = dash(kvs, "live", MaxManifestFragmentResults=3)
    numbers = lambda: [a["FragmentNumber"] for a in p.of("PERSISTED")]
    a = read(url)
    assert not a.ended and not a.kind and a.sequence == 0 and [number(s) for s in a.segments] == numbers()[1:]
    p.send(fragment(T0 + 4000)).send(END_OF_FRAGMENT).send(fragment(T0 + 6000)).send(END_OF_FRAGMENT)
    p.wait("PERSISTED", 6)
    b = read(url)
    assert [number(s) for s in b.segments] == numbers()[3:] and (b.sequence, b.discontinuities) == (2, 2)
    text = requests.get(mpd, timeout=30).text
    assert 'type="dynamic"' in text and text.count("<S ") == 3 and "minimumUpdatePeriod" in text
    p.finish()


def test_replays_go_on_as_time_does(kvs):
    times = {"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": {"StartTimestamp": kvs.starts[1] / 1000, "EndTimestamp": kvs.starts[4] / 1000 + 0.5}}
    url = playlists(hls(kvs, PlaybackMode="LIVE_REPLAY", HLSFragmentSelector=times, MaxMediaPlaylistFragmentResults=2))[0]
    first = read(url)
    assert first.sequence == 0 and [number(s) for s in first.segments] == kvs.numbers[1:3] and not first.ended
    seen = [first]

    def over():
        seen.append(read(url))
        return seen[-1].ended

    wait_until("it is over", over)
    last = seen[-1]
    assert [number(s) for s in last.segments] == kvs.numbers[3:5] and last.sequence == 2
    assert all(number(s) == kvs.numbers[1 + s.sequence] for p in seen for s in p.segments), "each keeps its number in the playlist"


def test_a_browser_plays_it(kvs, chromium):
    with page_of(chromium, kvs, signed_in=False) as page:
        page.goto(kvs.url + "/healthz")
        play_hls(page, hls(kvs, **whole()))
        wait_until("it plays to its end", lambda: page.evaluate("document.querySelector('video').ended || window.failed.length"), 60)
        assert page.evaluate("window.failed") == []
        assert quality(page, "video")["frames"] >= SECONDS * 25 - 5
