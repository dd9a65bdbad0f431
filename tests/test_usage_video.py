"""What video streams took, stored and gave is metered, whichever way it went, through a kill -9 and a restart; and what it costs."""

import re
import subprocess
import time
from urllib.parse import urljoin

import pytest
import requests

from support import webrtc
from support.kvs import T0, archived, put_clip
from support.media import ffmpeg_publisher, publish, running
from support.putmedia import PutMedia, fragment, header
from support.server import run
from support.wait import wait_until
from test_kvs import client
from test_kvs_play import dash, hls, playlists, read, whole
from test_usage import usage
from test_webrtc import browser, context, live, token  # noqa: F401 (fixtures)


def used(server, stream):
    return usage(server)[1][stream, None]["used"]


def listed(server, stream):
    """How many fragments there are, and their bytes."""
    all = archived(server).list_fragments(StreamName=stream, MaxResults=1000)["Fragments"]
    return len(all), sum(f["FragmentSizeInBytes"] for f in all)


def frames_of(*files):
    """Bytes of all frames of files."""
    out = 0
    for f in files:
        said = subprocess.run(["ffprobe", "-v", "error", "-show_entries", "packet=size", "-of", "csv=p=0", f], capture_output=True, text=True, check=True)
        out += sum(int(n) for n in re.findall(r"\d+", said.stdout))
    return out


def download(*urls):
    """Takes all of them; how many bytes that were."""
    answers = [requests.get(u, timeout=30) for u in urls]
    assert all(r.ok for r in answers), [r.status_code for r in answers]
    return sum(len(r.content) for r in answers)


def media_of(playlist):
    return [*{s.init: 0 for s in playlist.segments if s.init}, *(s.uri for s in playlist.segments)]


def test_what_is_put_and_read_survives_and_has_a_price(serve, tmp_path):
    began = time.monotonic()
    prices = {"video_gb_in": 1e6, "video_gb_out": 2e6, "video_gb_month": 1}
    server = serve("data", *(f for k, v in prices.items() for f in ("--set", f"usage.{k}={v}")))
    client(server).create_stream(StreamName="v", DataRetentionInHours=24)
    sent = [header(), *(fragment(T0 + n * 1000, length=20_000) for n in range(5))]
    p = PutMedia(server, "v")
    for part in sent:
        p.send(part)
    assert not [a for a in p.finish() if a["EventType"] == "ERROR"]
    fragments, bytes_in = listed(server, "v")
    # The frames, and what the producer had around them: in each fragment the beginning of its document, too.
    assert fragments == 5 and 50 * 20_006 < bytes_in < sum(map(len, sent)) + 5 * len(header()) + 50 * 8
    assert {"recordsIn": 5, "bytesIn": bytes_in}.items() <= used(server, "v").items()
    # The same again is not stored again.
    PutMedia(server, "v").send(b"".join(sent[:2])).finish()
    assert used(server, "v")["recordsIn"] == 5

    # GetMedia: all that there is, which is all that it sent; a list; a clip.
    body = client(server, "kinesis-video-media").get_media(StreamName="v", StartSelector={"StartSelectorType": "EARLIEST"})["Payload"]
    data, last = b"", b"AWS_KINESISVIDEO_CONTINUATION_TOKEN"
    while data.count(last) < 5 or len(data) < data.rfind(last) + len(last) + 6 + 47:
        data += body._raw_stream.read1(1 << 20)
    body.close()
    out = len(data)
    assert out > bytes_in and used(server, "v")["bytesOut"] == out
    numbers = [f["FragmentNumber"] for f in archived(server).list_fragments(StreamName="v")["Fragments"]]
    out += len(archived(server).get_media_for_fragment_list(StreamName="v", Fragments=numbers[:2])["Payload"].read())
    times = {"StartTimestamp": T0 / 1000 - 1, "EndTimestamp": T0 / 1000 + 100}
    selector = {"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": times}
    out += len(archived(server).get_clip(StreamName="v", ClipFragmentSelector=selector)["Payload"].read())
    file = tmp_path / "v.mp4"
    said = run("export", "v", "--data", server.data, "--from", "2023-01-01T00:00:00Z", file)
    assert said.returncode == 0, said.stderr
    out += file.stat().st_size
    answer, rows = usage(server)
    row = rows["v", None]
    assert row["kind"] == "video-stream"
    assert {"recordsIn": 5, "bytesIn": bytes_in, "bytesOut": out}.items() <= row["used"].items() and "hlsBytesOut" not in row["used"]
    assert row["cost"] == pytest.approx(bytes_in / 1e3 + out / 500, abs=1e-3) and answer["cost"] == row["cost"]
    of = {"rushes_video_put_fragments_total": 5, "rushes_video_put_bytes_total": bytes_in, "rushes_video_get_bytes_total": out, "rushes_video_hls_bytes_total": 0}
    assert {k: server.metric(k, stream="v") for k in of} == of

    # What was told was written down. From here on it is known what was stored at the start.
    server.kill()
    server.start()
    assert {"recordsIn": 5, "bytesIn": bytes_in, "bytesOut": out}.items() <= used(server, "v").items()
    assert server.metric("rushes_video_put_bytes_total", stream="v") == 0
    stored = wait_until("it was looked", lambda: server.metric("rushes_video_stored_bytes", stream="v"))
    assert bytes_in < stored < bytes_in * 1.1
    wait_until("a second has gone by", lambda: time.monotonic() > began + 2)
    server.restart()
    row = used(server, "v")
    assert {"recordsIn": 5, "bytesIn": bytes_in, "bytesOut": out}.items() <= row.items()
    kib = -(-stored // 1024)
    assert kib * 0.1 < row["storedKibSeconds"] <= kib * (time.monotonic() - began)
    shown = run("usage", "--data", server.data).stdout
    assert "VIDEO STREAM" in shown and "CONSUMER" not in shown and " in all" in shown, shown


def test_what_is_played_and_pictured(server, clips, tmp_path):
    clip = clips(seconds=6, audio=True)
    client(server).create_stream(StreamName="s", DataRetentionInHours=24)
    put_clip(server, "s", clip)
    fragments, bytes_in = listed(server, "s")
    assert frames_of(clip) < bytes_in < frames_of(clip) * 1.2 + fragments * 2000
    # The console's way, KVS's HLS in both containers, and DASH.
    main = requests.get(server.whole("s"), timeout=30)
    lists = [read(main.url.replace("main", str(track))) for track in (1, 2)]
    taken = download(*(u for l in lists for u in media_of(l)))
    taken += download(*(u for url in playlists(hls(server, **whole())) for u in media_of(read(url))))
    ts = next(l for l in requests.get(hls(server, ContainerFormat="MPEG_TS", **whole()), timeout=30).text.splitlines() if l and l[0] != "#")
    taken += download(*media_of(read(urljoin(server.url + "/hls/v1/", ts))))
    manifest = requests.get(dash(server, **whole("DASH")), timeout=30)
    of_dash = {urljoin(manifest.url, u.replace("&amp;", "&")) for u in re.findall(r'"([^"]*getMP4[^"]*)"', manifest.text)}
    assert len(of_dash) == 2 * (fragments + 1), sorted(of_dash)
    taken += download(*of_dash)
    assert used(server, "s")["hlsBytesOut"] == taken == server.metric("rushes_video_hls_bytes_total", stream="s")
    # Images that there are.
    asked = {"ImageSelectorType": "PRODUCER_TIMESTAMP", "Format": "JPEG", "SamplingInterval": 1000}
    images = archived(server).get_images(StreamName="s", StartTimestamp=T0 / 1000 + 4, EndTimestamp=T0 / 1000 + 9, **asked)["Images"]
    got = [i for i in images if "ImageContent" in i]
    assert 0 < len(got) < len(images) == 5
    assert used(server, "s")["images"] == len(got) == server.metric("rushes_video_images_total", stream="s")
    assert "bytesOut" not in used(server, "s") and "largeImages" not in used(server, "s")
    # Larger ones than 1080p, and stills: sent ones, not those that a client has already.
    (large,) = archived(server).get_images(StreamName="s", StartTimestamp=T0 / 1000 + 4, EndTimestamp=T0 / 1000 + 4, WidthPixels=1920, HeightPixels=1088, **asked)["Images"]
    assert "ImageContent" in large
    still = server.request("GET", "/v1/streams/s/still.jpg")
    assert still.ok and server.request("GET", "/v1/streams/s/still.jpg", headers={"If-None-Match": still.headers["ETag"]}).status_code == 304
    row = used(server, "s")
    assert (row["images"], row["largeImages"], row["stills"]) == (len(got), 1, 1)
    assert server.metric("rushes_video_large_images_total", stream="s") == server.metric("rushes_video_stills_total", stream="s") == 1


def test_what_comes_by_rtsp_and_from_files(server, clips):
    clip = clips(seconds=6, audio=True)
    publish(ffmpeg_publisher(clip, server.publish_url("door")))
    server.quiet("door")
    assert run("import", "files", clip, "--data", server.data).returncode == 0
    for stream in ("door", "files"):
        row = used(server, stream)
        assert (row["recordsIn"], row["bytesIn"]) == listed(server, stream)
        assert row["bytesIn"] == pytest.approx(frames_of(clip), rel=0.02)
        assert row.keys() <= {"recordsIn", "bytesIn", "storedKibSeconds"}


def test_what_is_watched_by_webrtc(server, clips, context, token):  # noqa: F811
    clip = clips(seconds=8)
    with running(ffmpeg_publisher(clip, server.publish_url("yard"))):
        live(server, "yard")
        page = webrtc.page(context, server)
        assert webrtc.watch(page, server, "yard", token("yard"))["status"] == 201
        webrtc.decodes(page)
        server.quiet("yard")
    seen = [0]
    wait_until("all that was sent has come", lambda: seen.append(webrtc.stats(page)["bytes"]) or 0 < seen[-1] == seen[-2], every=0.5)
    # What the network puts around units is a little less or more than what they have within.
    assert used(server, "yard")["bytesOut"] == pytest.approx(seen[-1], rel=0.05)
    assert "hlsBytesOut" not in used(server, "yard")
