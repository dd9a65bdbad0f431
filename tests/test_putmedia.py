"""PutMedia by a client of our own, GetMedia and ListFragments by boto3: what is put is durable when it is said to be, and comes
back byte for byte."""

import contextlib
import os
import pathlib
import sqlite3

import pytest

from support import media as recorded
from support import putmedia as pm
from support.putmedia import END_OF_FRAGMENT, PutMedia, fragment, header
from support.server import run
from test_kvs import client, refused

T0 = 1_700_000_000_000


@pytest.fixture
def kvs(server):
    client(server).create_stream(StreamName="s", DataRetentionInHours=24)
    return server


def media(server):
    return client(server, "kinesis-video-media")


def archived(server):
    return client(server, "kinesis-video-archived-media")


class Reader:
    """GetMedia's answer as it comes."""

    def __init__(self, server, **selector):
        self.body = media(server).get_media(StreamName="s", StartSelector=selector)["Payload"]
        self.data = b""

    def fragments(self, count):
        """The first so many, taken apart: (opening, tags, bytes, tags behind)."""
        # Reads no more than there is: at the tip there may be nothing more.
        last = b"AWS_KINESISVIDEO_CONTINUATION_TOKEN"
        while self.data.count(last) < count or len(self.data) < self.data.rfind(last) + len(last) + 6 + 47:
            more = self.body._raw_stream.read1(1 << 20)
            assert more, f"the answer ended after {self.data.count(last)} fragments"
            self.data += more
        return taken_apart(self.data, count)


def get(server, number_of_fragments, **selector):
    r = Reader(server, **selector)
    out = r.fragments(number_of_fragments)
    r.body.close()
    return out


def taken_apart(data, count):
    out = []
    for part in data.split(bytes.fromhex("1a45dfa3"))[1:count + 1]:
        part = bytes.fromhex("1a45dfa3") + part
        head, _, rest = part.partition(bytes.fromhex("1254c367100000eb737310"))
        assert rest, "the service's tags, with sizes of four bytes"
        tags, rest = rest[:235 - 3], rest[235 - 3:]
        end = rest.rfind(bytes.fromhex("1254c36710"))
        out.append((head, tags, rest[:end] if end > 0 else rest, rest[end:]))
    return out


def number_in(tags):
    at = tags.index(b"AWS_KINESISVIDEO_FRAGMENT_NUMBER") + 32 + 6
    return tags[at:at + 47].decode()


def test_acknowledgements_come_while_the_body_goes_on(kvs):
    p = PutMedia(kvs, "s")
    assert p.send(header()).answered() == 200 and p.headers["x-amzn-requestid"]
    p.send(fragment(T0), step=7)
    assert p.wait("BUFFERING")[0]["FragmentTimecode"] == T0
    p.send(END_OF_FRAGMENT)
    persisted, = p.wait("PERSISTED")
    assert [a["EventType"] for a in p.acks] == ["BUFFERING", "RECEIVED", "PERSISTED"]
    assert len({a["FragmentNumber"] for a in p.acks}) == 1 and len(persisted["FragmentNumber"]) == 47
    # The next Cluster, and the end of the body, end a fragment, too.
    p.send(fragment(T0 + 1000)).send(fragment(T0 + 2000))
    p.wait("PERSISTED", 2)
    acks = p.finish()
    assert [a["FragmentTimecode"] for a in acks if a["EventType"] == "PERSISTED"] == [T0, T0 + 1000, T0 + 2000]
    numbers = [a["FragmentNumber"] for a in p.of("PERSISTED")]
    assert numbers == sorted(set(numbers))
    listed = archived(kvs).list_fragments(StreamName="s")["Fragments"]
    assert [f["FragmentNumber"] for f in listed] == numbers
    assert [round(f["ProducerTimestamp"].timestamp() * 1000) for f in listed] == [T0, T0 + 1000, T0 + 2000]
    assert [f["FragmentLengthInMilliseconds"] for f in listed] == [1000, 1000, 1000]


@pytest.mark.parametrize("habit", pm.HABITS)
def test_each_habit_of_signing_is_taken(kvs, habit):
    p = PutMedia(kvs, "s", habit=habit)
    p.send(header()).send(fragment(T0))
    p.finish()
    assert len(p.of("PERSISTED")) == 1


def test_who_may_not_put_is_told_so(kvs):
    def status(**more):
        p = PutMedia(kvs, more.pop("stream", "s"), **more)
        p.answered()
        p.until(lambda: p.over)
        return p.status, p.headers.get("x-amzn-errortype")

    assert status(secret="wrong") == (403, "InvalidSignatureException")
    assert status(stream="nobody") == (404, "ResourceNotFoundException")
    assert status(timecodes="SIDEWAYS") == (400, "InvalidArgumentException")
    assert status(start="yesterday", timecodes="RELATIVE") == (400, "InvalidArgumentException")
    first = PutMedia(kvs, "s").send(header()).send(fragment(T0))
    first.wait("BUFFERING")
    assert status() == (400, "ConnectionLimitExceededException")
    assert first.finish()[-1]["EventType"] == "PERSISTED", "and the one before goes on"


def test_relative_times_and_starts_with_unpadded_milliseconds(kvs):
    p = PutMedia(kvs, "s", timecodes="RELATIVE", start="1700000000.5")
    p.send(header()).send(fragment(0)).send(fragment(1000))
    acks = p.finish()
    assert [a["FragmentTimecode"] for a in acks if a["EventType"] == "RECEIVED"] == [0, 1000]
    listed = archived(kvs).list_fragments(StreamName="s")["Fragments"]
    assert [round(f["ProducerTimestamp"].timestamp() * 1000) for f in listed] == [T0 + 5, T0 + 1005]


def test_what_is_put_comes_back_byte_for_byte(serve):
    """Clusters of known and unknown size, tags between and after, frames of three tracks in a codec that nobody knows."""
    kvs = serve("data", "--set", 'video.limits="off"')
    client(kvs).create_stream(StreamName="s", DataRetentionInHours=24)
    tracks = [pm.track(1, private=pm.AVCC), pm.track(2, "A_AAC", 2, bytes.fromhex("1588")), pm.track(3, "V_NOBODY/KNOWS", 1, b"\1\2\3")]
    head = header(*tracks)

    def body(n):
        frames = []
        for i in range(10):
            frames += [(1, i * 100, pm.avc(i == 0, i), i == 0), (2, i * 100 + 1, bytes([n, i]) * 40, True), (3, i * 100 + 2, b"", i == 0)]
        return pm.cluster(T0 + n * 1000, frames, known=n % 2 == 1) + pm.tags(place=f"gate {n}")

    bodies = [body(n) for n in range(4)]
    p = PutMedia(kvs, "s").send(head)
    for b in bodies:
        p.send(b, step=1000)
    p.finish()
    numbers = [a["FragmentNumber"] for a in p.of("PERSISTED")]
    assert len(numbers) == 4
    got = get(kvs, 4, StartSelectorType="EARLIEST")
    opening = head.replace(bytes.fromhex("18538067ff"), bytes.fromhex("1853806701ffffffffffffff"))
    assert [g[0] for g in got] == [opening] * 4
    assert [g[2] for g in got] == bodies
    assert [number_in(g[1]) for g in got] == numbers
    assert all(b"%d.%03d" % divmod(T0 + n * 1000, 1000) in g[1] for n, g in enumerate(got))
    assert all(n.encode() in g[3] and b"AWS_KINESISVIDEO_MILLIS_BEHIND_NOW" in g[3] for n, g in zip(numbers, got))

    # From each place there is a word for.
    first = lambda **s: number_in(get(kvs, 1, **s)[0][1])
    assert first(StartSelectorType="NOW") == numbers[3]
    assert first(StartSelectorType="FRAGMENT_NUMBER", AfterFragmentNumber=numbers[1]) == numbers[2]
    assert first(StartSelectorType="CONTINUATION_TOKEN", ContinuationToken=numbers[0]) == numbers[1]
    assert first(StartSelectorType="PRODUCER_TIMESTAMP", StartTimestamp=T0 / 1000 + 0.5) == numbers[1]
    listed = archived(kvs).list_fragments(StreamName="s")["Fragments"]
    # Several may have come within one millisecond.
    came = [f["ServerTimestamp"] for f in listed]
    assert first(StartSelectorType="SERVER_TIMESTAMP", StartTimestamp=came[2]) == numbers[came.index(came[2])]
    lost = media(kvs).get_media(StreamName="s", StartSelector={"StartSelectorType": "FRAGMENT_NUMBER", "AfterFragmentNumber": "1"})["Payload"].read()
    assert b"AWS_KINESISVIDEO_ERROR_ID" in lost and b"4000" in lost
    assert refused(media(kvs).get_media, StreamName="s", StartSelector={"StartSelectorType": "FRAGMENT_NUMBER"})[0] == "InvalidArgumentException"

    # By their numbers, and by their times, also after a restart.
    kvs.restart()
    some = archived(kvs).get_media_for_fragment_list(StreamName="s", Fragments=[numbers[2], numbers[0]])["Payload"].read()
    assert [(g[0], g[2]) for g in taken_apart(some, 2)] == [(opening, bodies[0]), (opening, bodies[2])]
    assert refused(archived(kvs).get_media_for_fragment_list, StreamName="s", Fragments=["9" * 47])[:2] == ("ResourceNotFoundException", 404)
    pages = archived(kvs).get_paginator("list_fragments").paginate(StreamName="s", PaginationConfig={"PageSize": 3})
    assert [[f["FragmentNumber"] for f in page["Fragments"]] for page in pages] == [numbers[:3], numbers[3:]]
    between = [n for n, t in zip(numbers, came) if came[1] <= t <= came[2]]
    for kind, times, want in [("PRODUCER_TIMESTAMP", [T0 / 1000 + 1, T0 / 1000 + 2], numbers[1:3]), ("SERVER_TIMESTAMP", came[1:3], between)]:
        selector = {"FragmentSelectorType": kind, "TimestampRange": {"StartTimestamp": times[0], "EndTimestamp": times[1]}}
        found = archived(kvs).list_fragments(StreamName="s", FragmentSelector=selector)["Fragments"]
        assert [f["FragmentNumber"] for f in found] == want, kind


def test_a_reader_at_the_tip_is_given_what_comes(kvs):
    p = PutMedia(kvs, "s").send(header()).send(fragment(T0)).send(END_OF_FRAGMENT)
    p.wait("PERSISTED")
    reader = Reader(kvs, StartSelectorType="NOW")
    assert len(reader.fragments(1)) == 1
    for n in (1, 2):
        p.send(fragment(T0 + n * 1000)).send(END_OF_FRAGMENT)
        got = reader.fragments(n + 1)
        p.wait("PERSISTED", n + 1)
    assert [number_in(g[1]) for g in got] == [a["FragmentNumber"] for a in p.of("PERSISTED")]
    reader.body.close()
    p.finish()


def test_a_fragment_that_is_put_again_keeps_its_number(kvs):
    put = lambda *fragments: [a["FragmentNumber"] for a in (lambda p: (p.send(header()), [p.send(f) for f in fragments], p.finish(), p.of("PERSISTED"))[3])(PutMedia(kvs, "s"))]
    first = put(fragment(T0), fragment(T0 + 1000))
    again = put(fragment(T0 + 1000), fragment(T0 + 2000))
    assert again[0] == first[1] and again[1] > first[1]
    other = put(fragment(T0 + 1000, seed=50))
    assert other[0] > again[1], "the same time and other bytes: both are kept"
    assert len(archived(kvs).list_fragments(StreamName="s")["Fragments"]) == 4


#: The body ends here.
OVER = None
SOUND = pm.track(2, "A_AAC", 2)


def nested(depth):
    """Tags with one in another in another."""
    heads = b""
    for _ in range(depth):
        heads = bytes.fromhex("67c8") + pm.size(len(heads)) + heads
    return pm.element("1254c367", pm.element("7373", heads))


#: What is sent, what is said of it, and how many fragments are kept.
BAD = {
    "no Matroska": (4006, "INVALID_MKV_DATA", 0, [b"this is no Matroska at all, and goes on for a while"]),
    "a block that is larger than its Cluster": (4006, "INVALID_MKV_DATA", 1, [
        header(), fragment(T0), bytes.fromhex("1f43b675") + pm.size(100) + pm.cluster(T0 + 1000, [(1, 0, pm.avc(True, 1), True)])[5:]]),
    "a block that is larger than anything": (4006, "INVALID_MKV_DATA", 1, [
        header(), fragment(T0), pm.cluster(T0 + 1000, []) + bytes.fromhex("a3") + pm.size(1 << 40), b"\x81" + b"x" * 5000]),
    "a track that is larger than the Tracks": (4006, "INVALID_MKV_DATA", 0, [
        header()[:-len(pm.element("1654ae6b", pm.track(1, private=pm.AVCC)))] + pm.element("1654ae6b", bytes.fromhex("ae") + pm.size(1 << 30) + b"x" * 50), fragment(T0)]),
    "tags in tags, each as large as the one around it": (4006, "INVALID_MKV_DATA", 1, [
        header(), fragment(T0) + END_OF_FRAGMENT, bytes.fromhex("1254c367") + pm.size(1 << 19) + bytes.fromhex("7373") + pm.size(1 << 19) + (bytes.fromhex("67c8") + pm.size(1 << 19)) * 50_000, OVER]),
    "a Cluster that is cut off": (4006, "INVALID_MKV_DATA", 1, [header(), fragment(T0), fragment(T0 + 1000)[:-100], OVER]),
    "a Cluster of known size that is cut off": (4006, "INVALID_MKV_DATA", 1, [
        header(), fragment(T0), pm.cluster(T0 + 1000, [(1, i * 100, pm.avc(i == 0, i), i == 0) for i in range(10)], known=True)[:-len(pm.block(1, 0, pm.avc(False, 1), False))], OVER]),
    "other Tracks in mid-segment": (4006, "INVALID_MKV_DATA", 1, [
        header(), fragment(T0), END_OF_FRAGMENT, pm.element("1654ae6b", pm.track(1, private=pm.AVCC, width=640)), fragment(T0 + 1000)]),
    "an undeclared track": (4010, "TRACK_NUMBER_MISMATCH", 0, [header(), fragment(T0, n=9)]),
    "a Cluster before the one before": (4004, "FRAGMENT_TIMECODE_LESSER_THAN_PREVIOUS", 1, [header(), fragment(T0), fragment(T0 - 5000)]),
    "a Cluster at the time of the one before": (4004, "FRAGMENT_TIMECODE_LESSER_THAN_PREVIOUS", 1, [header(), fragment(T0), fragment(T0, seed=50)]),
    "a track without frames": (4011, "FRAMES_MISSING_FOR_TRACK", 0, [header(pm.track(1, private=pm.AVCC), SOUND), fragment(T0), fragment(T0 + 1000)]),
    "four tracks": (4012, "MORE_THAN_ALLOWED_TRACKS_FOUND", 0, [header(*(pm.track(n, private=pm.AVCC) for n in range(1, 5)))]),
    "eleven tags": (4009, "FRAGMENT_METADATA_LIMIT_REACHED", 0, [header(), fragment(T0), pm.tags(**{f"t{n}": "x" for n in range(11)}), fragment(T0 + 1000)]),
    "27 seconds": (4002, "MAX_FRAGMENT_DURATION_REACHED", 0, [header(), fragment(T0, every=3000)]),
    "52 megabytes": (4001, "MAX_FRAGMENT_SIZE_REACHED", 0, [header(), pm.cluster(T0, []), *(pm.block(1, n * 100, pm.avc(n == 0, n, 4_000_000), n == 0) for n in range(13))]),
    "the year 2286": (4007, "INVALID_PRODUCER_TIMESTAMP", 0, [header(), fragment(10_000_000_000_000)]),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_media_is_told_and_harms_nobody_else(kvs, what):
    client(kvs).create_stream(StreamName="good", DataRetentionInHours=1)
    good = PutMedia(kvs, "good").send(header()).send(fragment(T0))
    number, code, complete, pieces = BAD[what]
    p = PutMedia(kvs, "s")
    for piece in pieces:
        p.over_with() if piece is OVER else p.send(piece)
    error, = p.wait("ERROR")
    assert (error["ErrorId"], error["ErrorCode"]) == (number, code)
    p.rest()
    good.send(fragment(T0 + 1000))
    good.finish()
    assert len(good.of("PERSISTED")) == 2
    # What was complete before is kept.
    kept = len(archived(kvs).list_fragments(StreamName="s")["Fragments"])
    assert kept == len(p.of("PERSISTED")) == complete


def test_nesting_without_an_end_harms_nobody(kvs):
    """What is deep and well formed is no error, and comes back as it is; nobody follows it down."""
    deep = nested(5000)
    p = PutMedia(kvs, "s").send(header()).send(bytes.fromhex("18538067ff") * 10_000).send(fragment(T0) + deep).send(fragment(T0 + 1000))
    p.finish()
    assert len(p.of("PERSISTED")) == 2 and not p.of("ERROR"), p.acks
    assert get(kvs, 1, StartSelectorType="EARLIEST")[0][2] == fragment(T0) + deep


def test_a_stream_is_named_by_its_arn_or_its_name(kvs):
    arn = client(kvs).describe_stream(StreamName="s")["StreamInfo"]["StreamARN"]

    def put(**named):
        p = PutMedia(kvs, "s", headers={"x-amzn-stream-name": None, **{f"x-amzn-stream-{k}": v for k, v in named.items()}})
        if p.answered() == 200:
            p.send(header()).send(fragment(T0)).finish()
            return 200, len(p.of("PERSISTED"))
        p.until(lambda: p.over)
        return p.status, p.headers["x-amzn-errortype"]

    assert put(arn=arn) == (200, 1)
    invalid = (400, "InvalidArgumentException")
    assert put() == put(name="s", arn=arn) == put(arn="arn:of:nothing") == invalid
    assert put(arn=arn.replace("/s/", "/t/")) == (404, "ResourceNotFoundException")


def test_who_puts_is_told_that_the_stream_is_deleted(kvs):
    p = PutMedia(kvs, "s").send(header()).send(fragment(T0)).send(END_OF_FRAGMENT)
    p.wait("PERSISTED")
    video = client(kvs)
    video.delete_stream(StreamARN=video.describe_stream(StreamName="s")["StreamInfo"]["StreamARN"])
    p.send(fragment(T0 + 1000)).send(END_OF_FRAGMENT)
    error, = p.wait("ERROR")
    assert (error["ErrorId"], error["ErrorCode"]) == (4507, "STREAM_DELETED")
    p.rest()


#: What happens to the row of the stream's key in the catalog, and what is said of it.
SPOILT = {
    "a key that does not open": ("UPDATE keys SET wrapped = zeroblob(length(wrapped))", 4503, "KMS_KEY_UNAVAILABLE"),
    "a key that is gone": ("DELETE FROM keys", 4503, "KMS_KEY_UNAVAILABLE"),
    "a row that cannot be read": ("UPDATE keys SET generation = 1 << 40", 5000, "INTERNAL_ERROR"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_who_puts_or_gets_is_told_what_is_wrong_with_the_key(kvs, what):
    change, *said = SPOILT[what]
    put = lambda name, n=0: PutMedia(kvs, name).send(header()).send(fragment(T0 + n * 1000)).send(END_OF_FRAGMENT)

    def spoil(*statements):
        """With the server stopped; gives the rows of `s` and `full` as they were."""
        kvs.stop()
        with contextlib.closing(sqlite3.connect(kvs.data / "catalog.sqlite")) as catalog, catalog:
            both = "WHERE stream IN (SELECT no FROM streams ORDER BY no DESC LIMIT 2 OFFSET 1)"
            rows = catalog.execute(f"SELECT * FROM keys {both}").fetchall()
            for s in statements:
                catalog.execute(f"{s} {both}")
            for row in saved:
                catalog.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?)", row)
        kvs.start()
        return rows

    for name in ("full", "good"):
        client(kvs).create_stream(StreamName=name, DataRetentionInHours=24)
    put("full").finish()
    saved = []
    saved = spoil(change)
    assert len(saved) == 2
    for name in ("s", "full"):
        p = put(name, 1)
        error, = p.wait("ERROR")
        assert [error["ErrorId"], error["ErrorCode"]] == said
        p.rest()
        assert not p.of("PERSISTED")
    got = media(kvs).get_media(StreamName="full", StartSelector={"StartSelectorType": "EARLIEST"})["Payload"].read()
    assert all(str(x).encode() in got for x in said), got
    p = put("good")
    p.finish()
    assert len(p.of("PERSISTED")) == 1, "and nobody else is the worse for it"
    # Once it is as it was, all is.
    spoil("DELETE FROM keys")
    for name, n in (("s", 0), ("full", 1)):
        p = put(name, n)
        p.finish()
        assert len(p.of("PERSISTED")) == 1
        assert len(archived(kvs).list_fragments(StreamName=name)["Fragments"]) == n + 1


def test_who_puts_is_told_that_another_took_over(serve):
    kvs = serve("data", "--set", 'video.limits="off"')
    client(kvs).create_stream(StreamName="s", DataRetentionInHours=24)
    first = PutMedia(kvs, "s").send(header()).send(fragment(T0)).send(END_OF_FRAGMENT)
    first.wait("PERSISTED")
    second = PutMedia(kvs, "s").send(header()).send(fragment(T0 + 5000)).send(END_OF_FRAGMENT)
    second.wait("PERSISTED")
    first.send(fragment(T0 + 1000)).send(END_OF_FRAGMENT)
    error, = first.wait("ERROR")
    assert (error["ErrorId"], error["ErrorCode"]) == (4000, "STREAM_READ_ERROR")
    first.rest()
    second.send(fragment(T0 + 6000))
    second.finish()
    assert len(second.of("PERSISTED")) == 2
    assert len(archived(kvs).list_fragments(StreamName="s")["Fragments"]) == 3


def test_what_was_persisted_survives_a_kill_in_mid_fragment(serve):
    server = serve()
    client(server).create_stream(StreamName="s", DataRetentionInHours=24)
    for round_ in range(3):
        p = PutMedia(server, "s").send(header())
        for n in range(4):
            p.send(fragment(T0 + (round_ * 10 + n) * 1000, length=20_000))
        p.wait("PERSISTED", 3)
        p.send(fragment(T0 + (round_ * 10 + 4) * 1000, length=20_000)[:-30_000])
        server.kill()
        p.until(lambda: p.over)
        persisted = {a["FragmentNumber"] for a in p.of("PERSISTED")}
        server.start()
        there = [f["FragmentNumber"] for f in archived(server).list_fragments(StreamName="s")["Fragments"]]
        assert persisted <= set(there) and there == sorted(there)
        whole = archived(server).get_media_for_fragment_list(StreamName="s", Fragments=sorted(persisted))["Payload"].read()
        parts = taken_apart(whole, 3)
        assert [g[2] for g in parts] == [fragment(T0 + (round_ * 10 + n) * 1000, length=20_000) for n in range(3)]


def test_streams_that_keep_nothing_persist_nothing(server):
    client(server).create_stream(StreamName="live")
    p = PutMedia(server, "live").send(header()).send(fragment(T0))
    assert [a["EventType"] for a in p.finish()] == ["BUFFERING", "RECEIVED"]


def test_a_clip_that_is_put_plays_and_comes_back_as_it_is_recorded(kvs, clips, tmp_path):
    clip = clips(seconds=5, gop=25, audio=True, extra=("-bf", "2"))
    file = recorded.ffmpeg("-i", clip, "-c", "copy", "-f", "matroska", "-live", "1", "-cluster_time_limit", "1000", "pipe:1")
    p = PutMedia(kvs, "s", timecodes="RELATIVE", start=f"{T0 // 1000}.000")
    p.send(file, step=10_000)
    acks = p.finish()
    assert not p.of("ERROR") and len(p.of("PERSISTED")) >= 3, acks
    assert recorded.frames(kvs.whole("s")) == recorded.frames(clip)
    back = tmp_path / "back.mkv"
    got = get(kvs, len(p.of("PERSISTED")), StartSelectorType="EARLIEST")
    back.write_bytes(got[0][0] + b"".join(g[2] for g in got))
    assert recorded.frames(back) == recorded.frames(clip)


def test_what_came_otherwise_is_given_out_as_matroska(kvs, clips, tmp_path):
    clip = clips(seconds=5, gop=25, audio=True)
    dated = tmp_path / "dated.mp4"
    recorded.ffmpeg("-y", "-i", clip, "-c", "copy", "-metadata", "creation_time=2026-03-01T10:00:00Z", dated)
    done = run("import", "cam", dated, "--data", kvs.data)
    assert done.returncode == 0, done.stderr
    listed = archived(kvs).list_fragments(StreamName="cam")["Fragments"]
    numbers = [f["FragmentNumber"] for f in listed]
    assert len(numbers) >= 2 and numbers == sorted(set(numbers))
    whole = archived(kvs).get_media_for_fragment_list(StreamName="cam", Fragments=numbers)["Payload"].read()
    parts = taken_apart(whole, len(numbers))
    assert [number_in(g[1]) for g in parts] == numbers
    back = tmp_path / "back.mkv"
    back.write_bytes(parts[0][0] + b"".join(g[2] + (g[3] if not g[3].startswith(bytes.fromhex("1254c367")) else b"") for g in parts))
    assert recorded.frames(back) == recorded.frames(clip)


FOOTAGE = os.environ.get("RUSHES_FOOTAGE")


@pytest.mark.skipif(not FOOTAGE, reason="RUSHES_FOOTAGE does not name the folder of real footage")
def test_a_real_answer_of_the_service_comes_back_in_the_same_form(kvs):
    """The fragments of a real GetMedia answer, put one document after another, come back in the same bytes but for the service's
    own tags."""
    data = (pathlib.Path(FOOTAGE) / "construction-site.getmedia.mkv").read_bytes()
    want = taken_apart(data, 100)
    p = PutMedia(kvs, "s", timecodes="RELATIVE", start="1511852108.513")
    for head, _, cluster, _ in want:
        p.send(head + cluster, step=100_000)
    p.finish()
    assert len(p.of("PERSISTED")) == len(want), p.of("ERROR")
    got = get(kvs, len(want), StartSelectorType="EARLIEST")
    assert [(g[0], g[2]) for g in got] == [(w[0], w[2]) for w in want]
    assert [len(g[1]) for g in got] == [len(w[1]) for w in want]


def test_a_track_is_what_its_first_picture_says_where_sound_comes_before_it(server):
    """VP9 without a configuration, whose fragments begin with sound."""
    client(server).create_stream(StreamName="late", DataRetentionInHours=1)
    picture = bytes.fromhex("8249834220 13f00ef0".replace(" ", "")) + b"\x55" * 40
    opus = b"OpusHead" + bytes([1, 1, 0, 0]) + (48000).to_bytes(4, "little") + bytes(3)
    p = PutMedia(server, "late").send(header(pm.track(1, "V_VP9"), pm.track(2, "A_OPUS", 2, opus)))
    sound = lambda at: (2, at, b"\xfc\xff\xfe", True)
    for n in range(3):
        p.send(pm.cluster(T0 + n * 1000, [sound(0), sound(20), (1, 20, picture, True), sound(40), (1, 520, b"\x86\0" * 9, False), sound(60)])).send(END_OF_FRAGMENT)
    p.finish()
    assert not p.of("ERROR"), p.acks
    assert len(p.of("PERSISTED")) == 3 == len(server.fragments("late"))
    said = server.http.get(server.whole("late"), timeout=30).text
    assert 'CODECS="vp09.00.' in said and "opus" in said and "RESOLUTION=320x240" in said, said
    # All of it comes out in the order in which it came.
    payload = client(server, "kinesis-video-archived-media").get_media_for_fragment_list(StreamName="late", Fragments=[a["FragmentNumber"] for a in p.of("PERSISTED")])["Payload"].read()
    assert payload.count(picture) == 3 and payload.count(b"\xfc\xff\xfe") == 12
    assert payload.index(b"\xfc\xff\xfe") < payload.index(picture)
