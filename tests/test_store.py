"""Kept in an S3 bucket: what plays from there alone, and the days on which the bucket does not do what it should."""

import contextlib
import datetime

import pytest

from support import media
from support.m3u8 import fetch, when
from support.media import ffmpeg_publisher, publish, running
from support.s3 import S3, SECRET, Proxy
from support.server import ApiError, run
from support.streams import client as streams_of
from support.streams import active, make
from support.wait import stays, wait_until

# Segments close soon, and a store that is away is given up soon.
SOON = [x for kv in ("video.target_seconds=0.5", "shard_log.segment_seconds=1", "store.request_seconds=3", "store.connect_seconds=1")
        for x in ("--set", kv)]
# What is stored is not kept in the data folder, too.
BARE = [*SOON, "--set", "shard_log.cache_mib=0"]


def test_all_of_it_from_the_bucket_alone(serve, clips, s3):
    clip = clips(seconds=8, gop=12, audio=True)
    with Proxy(s3.port) as proxy:
        server = serve("data", *s3.flags(endpoint=proxy.endpoint), *BARE)
        publish(ffmpeg_publisher(clip, server.publish_url("door")))
        server.quiet("door")
        server.stored()
        segments = s3.keys(below="segments/")
        assert segments
        # One request for each segment, and a few at the start (the probe, the marker).
        assert proxy.count("PUT") <= len(segments) + 8, proxy.requests
        listed = server.fragments("door")
        server.only_in_store()
        assert server.fragments("door") == listed
        media.same_video(clip, server.whole("door"))
        media.same_audio(clip, server.whole("door"))
        assert server.metric("rushes_store_calls_total", operation="read", outcome="ok") > 0
        assert server.metric("rushes_store_bytes_total", operation="read") > 100_000

        # An object that is gone is named, and what is elsewhere plays: before it, and past it.
        lost = s3.path(segments[len(segments) // 2])
        content = lost.read_bytes()
        lost.unlink()
        server.restart()
        whole = server.whole("door")
        playlist = server.http.get(whole.rsplit("/", 1)[0] + "/1.m3u8", timeout=30).text
        assert playlist.count("# nothing from ") == 1 and playlist.count("#EXTINF") < len(listed), playlist
        told = server.call("GET", "/v1/streams/door")["unreadable"]
        assert len(told) == 1 and f"{lost.name}: no such object" in told[0]["why"], told
        assert media.packets(whole) >= 25
        start = when(server.call("GET", "/v1/streams/door")["recorded"]["from"])
        first = {"from": start.isoformat(), "to": (start + datetime.timedelta(seconds=1)).isoformat()}
        assert media.packets(server.session("door", **first)) >= 25
        lost.write_bytes(content)

        # Where the newest is gone that is said, and recording goes on.
        newest = s3.path(s3.keys(below="segments/")[-1])
        content = newest.read_bytes()
        for path in (newest, *(server.data / "segments").glob("*.seg")):
            path.unlink()
        server.restart()
        (listed_now,) = server.call("GET", "/v1/streams")["streams"]
        told = server.call("GET", "/v1/streams/door")
        assert told == listed_now and newest.name in told["unreadable"][-1]["why"], told
        assert told["recorded"]["from"] and told["unreadable"][-1]["bytes"] <= len(content), told
        since = datetime.datetime.now(datetime.UTC).isoformat()
        publish(ffmpeg_publisher(clip, server.publish_url("door")))
        server.quiet("door")
        after = server.call("GET", "/v1/streams/door")
        assert after["unreadable"] == [] and when(after["recorded"]["to"]) > when(told["unreadable"][-1]["to"]), after
        new = {"from": since, "to": after["recorded"]["to"]}
        assert media.packets(server.session("door", **new)) > 25, "and plays"
        newest.write_bytes(content)
        positions = [f["position"] for f in server.fragments("door")]
        assert positions == sorted(set(positions)) and len(positions) > len(listed), positions

        # Deleting the stream deletes its objects.
        server.call("DELETE", "/v1/streams/door")
        wait_until("its objects are deleted", lambda: not s3.keys(below="segments/"))


def test_a_store_that_misbehaves(serve, clips, s3):
    """Recording goes on whatever it does, and in the end everything is there."""
    clip = clips(seconds=12, gop=12)
    with Proxy(s3.port) as proxy:
        server = serve("data", *s3.flags(endpoint=proxy.endpoint), *SOON)
        with running(ffmpeg_publisher(clip, server.publish_url("door"))) as publisher:
            wait_until("something is stored", lambda: server.metric("rushes_log_uploads_total") >= 1)
            for mode in ("503", "late", "away"):
                failures = server.metric("rushes_log_upload_failures_total")
                proxy.mode = mode
                wait_until(f"the store is seen to fail ({mode})", lambda: server.metric("rushes_log_upload_failures_total") > failures)
                before = server.metric("rushes_log_appended_total")
                wait_until(f"recording goes on ({mode})", lambda: server.metric("rushes_log_appended_total") >= before + 2)
                proxy.mode = "through"
            assert publisher.wait(60) == 0
        server.quiet("door")
        server.stored()
        media.same_video(clip, server.whole("door"))

        # It starts without its store, plays what is here, and records.
        server.stop()
        proxy.mode = "away"
        server.start()
        media.same_video(clip, server.whole("door"))
        short = clips(seconds=4, gop=12)
        for name in ("gate", "door"):
            publish(ffmpeg_publisher(short, server.publish_url(name)))
            server.quiet(name)
        assert server.metric("rushes_log_upload_backlog_bytes") > 0
        proxy.mode = "through"
        server.stored(90)
        server.stop()
        # A fresh process, without the files.
        for file in (server.data / "segments").iterdir():
            file.unlink()
        server.start()
        media.same_video(short, server.whole("gate"))
        assert media.nal_units(server.whole("door")) == media.nal_units(clip) + media.nal_units(short)
        proxy.mode = "away"
        server.restart()
        with pytest.raises(ApiError) as e:
            server.whole("door")
        assert e.value.status == 503 and "s3://rushes/archive/segments/" in e.value.words, e.value


def test_a_full_backlog_refuses_and_recovers(serve, clips, s3):
    clip = clips(seconds=10, gop=12, size="1280x720", extra=("-b:v", "4M", "-minrate", "4M"))
    with Proxy(s3.port) as proxy:
        server = serve("data", *s3.flags(endpoint=proxy.endpoint), *BARE, "--set", "shard_log.upload_backlog_mib=1")
        kinesis = streams_of(server)
        make(kinesis, "events")
        proxy.mode = "503"
        with running(ffmpeg_publisher(clip, server.publish_url("door"), loop=True)):
            wait_until("the backlog is full", lambda: server.metric("rushes_log_upload_backlog_bytes") > 1 << 20)
            full = wait_until("nothing more is taken", lambda: settled(server))
        # Whoever puts is told so each time; the server's own log is not filled with it.
        for _ in range(30):
            with pytest.raises(kinesis.exceptions.ClientError, match="of segments wait for the store"):
                kinesis.put_record(StreamName="events", PartitionKey="k", Data=b"x")
        said = server.log.read_bytes().decode().splitlines()
        assert 1 <= sum("are refused" in line for line in said) < 10 and sum("refused" in line for line in said) < 15, said
        proxy.mode = "through"
        server.stored()
        kinesis.put_record(StreamName="events", PartitionKey="k", Data=b"x")
        with contextlib.suppress(AssertionError):
            server.quiet("door")
        with running(ffmpeg_publisher(clip, server.publish_url("door"), loop=True)):
            wait_until("it records again", lambda: len(server.fragments("door")) > full)


def settled(server):
    """How many fragments there are, if that no longer grows while somebody publishes."""
    n = len(server.fragments("door"))
    try:
        stays("no more fragments", lambda: len(server.fragments("door")) == n, 1.5)
        return n
    except AssertionError:
        return 0


def refusal(tmp_path, *flags):
    r = run("serve", "--data", tmp_path / "refused", "--listen", "127.0.0.1:0", "--rtsp", "127.0.0.1:0", *flags, timeout=30, RUSHES_LOG="error")
    lines = r.stderr.strip().splitlines()
    assert r.returncode == 1 and len(lines) == 1 and r.stdout == "", r
    assert SECRET not in lines[0] and "panicked" not in lines[0]
    return lines[0]


def test_what_will_not_do_is_said_at_the_start(tmp_path, serve, s3):
    def with_store(url, **keys):
        settings = dict(f.split("=", 1) for f in s3.flags()[3::2]) | {f"store.{k}": v for k, v in keys.items()}
        return ("--store", url, *(x for k, v in settings.items() for x in ("--set", f"{k}={v}")))

    line = refusal(tmp_path, *with_store("s3://no-such-bucket/x"))
    assert "no-such-bucket" in line and "does not exist" in line, line
    line = refusal(tmp_path, *with_store("s3://rushes/x", secret_access_key="wrong-secret"))
    assert "credentials were refused" in line and "wrong-secret" not in line, line
    line = refusal(tmp_path, *with_store("s3://rushes/x", access_key_id="somebody"))
    assert "credentials were refused" in line, line
    line = refusal(tmp_path, "--store", "rushes")
    assert "s3://BUCKET" in line, line
    line = refusal(tmp_path, "--store", tmp_path / "refused" / "inside")
    assert "within" in line, line
    with Proxy(s3.port) as proxy:
        for mode in ("unconditional", "unsupported"):
            proxy.mode = mode
            line = refusal(tmp_path, *with_store("s3://rushes/x", endpoint=proxy.endpoint))
            assert "no conditional writes" in line and "store.conditional_writes = false" in line, line
        server = serve("looks", *with_store("s3://rushes/x", endpoint=proxy.endpoint, conditional_writes="false"))
        assert server.ready["store"] == "s3://rushes/x"
    # A bucket that another data folder uses.
    line = refusal(tmp_path, *with_store("s3://rushes/x"))
    assert "another data folder" in line, line


def test_over_tls(tmp_path, serve):
    # Rushes' own certificate serves as anybody's.
    made = serve("made", "--tls-self-signed")
    made.stop()
    certificate = made.data / "self-signed.pem"
    with S3(tmp_path / "s3", tls=certificate) as s3:
        server = serve("data", *s3.flags(), "--set", f"store.ca_file={certificate}")
        assert server.metric("rushes_store_calls_total", operation="create", outcome="ok") > 0
        server.stop()
        # One that nobody has vouched for is not spoken to; recording does not wait for that to be mended.
        server = serve("other", *s3.flags("other"))
        assert server.metric("rushes_store_calls_total", operation="create", outcome="ok") == 0
        assert "certificate" in server.log.read_text()


def test_a_folder_as_the_store(tmp_path, serve, clips):
    clip = clips(seconds=4, gop=12)
    store = tmp_path / "archive"
    server = serve("data", "--store", store, *BARE)
    publish(ffmpeg_publisher(clip, server.publish_url("door")))
    server.quiet("door")
    server.only_in_store()
    assert list((store / "segments").iterdir())
    line = refusal(tmp_path, "--store", store)
    assert "another rushes" in line, line
    server.restart()
    media.same_video(clip, server.whole("door"))
    # Without it, it says where the recordings are.
    server.stop()
    line = refusal_of(server)
    assert str(store) in line, line


def refusal_of(server):
    r = run("serve", "--data", server.data, "--listen", "127.0.0.1:0", "--rtsp", "off", timeout=30, RUSHES_LOG="error")
    assert r.returncode == 1, r
    return r.stderr.strip()


@pytest.mark.parametrize("store", ["folder", "s3"])
def test_data_streams_begin_at_any_time_of_what_is_in_the_store_alone(serve, request, tmp_path, store):
    flags = request.getfixturevalue("s3").flags() if store == "s3" else ("--store", (tmp_path / "objects").as_uri())
    server = serve("data", *flags, *BARE, "--set", "streams.limits=off", "--set", "shard_log.tail_mib=1")
    kinesis = streams_of(server)
    make(kinesis, "s", 1)

    def read(shard, **begin):
        """(arrival in milliseconds, content) of each record from there on, to the tip."""
        it, got = kinesis.get_shard_iterator(StreamName="s", ShardId=shard, **begin)["ShardIterator"], []
        while it:
            page = kinesis.get_records(ShardIterator=it)
            got += [(round(r["ApproximateArrivalTimestamp"].timestamp() * 1000), r["Data"]) for r in page["Records"]]
            if page["MillisBehindLatest"] == 0:
                break
            it = page.get("NextShardIterator")
        return got

    sent, shards = [], ["shardId-000000000000"]
    for turn in range(4):
        if turn == 2:
            # What a closed shard holds is found by its times as well.
            kinesis.split_shard(StreamName="s", ShardToSplit=shards[0], NewStartingHashKey=str(1 << 127))
            shards += ["shardId-000000000001", "shardId-000000000002"]
            active(kinesis, "s")
        for n in range(30):
            data = f"{turn} {n} ".ljust(3000, "x").encode()
            kinesis.put_record(StreamName="s", PartitionKey=str(n), Data=data)
            sent.append(data)
        server.stored()
    before = {s: read(s, ShardIteratorType="TRIM_HORIZON") for s in shards}
    assert sorted(d for got in before.values() for _, d in got) == sorted(sent)
    assert all(before.values())
    server.only_in_store()
    kinesis = streams_of(server)
    for shard, records in before.items():
        assert read(shard, ShardIteratorType="TRIM_HORIZON") == records
        arrivals = [at for at, _ in records]
        assert arrivals == sorted(arrivals)
        for at in sorted({at + by for at in arrivals[::5] + arrivals[-1:] for by in (-1, 0, 1)}):
            got = read(shard, ShardIteratorType="AT_TIMESTAMP", Timestamp=at / 1000)
            assert got == [r for r in records if r[0] >= at], f"{shard} from {at} on"
    assert server.metric("rushes_store_calls_total", operation="read", outcome="ok") > 0
