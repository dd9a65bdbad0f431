"""`rushes verify`: sound folders are sound, a flipped bit is named, and what it does not touch plays on."""

import json

import pytest

from support.m3u8 import fetch
from support.media import ffmpeg_publisher, publish
from support.server import run
from support.wait import wait_until


def verify(data, *flags, expect=0):
    r = run("verify", "--data", data, "--json", *flags)
    assert r.returncode == expect, r
    return json.loads(r.stdout)


@pytest.fixture
def recorded(serve, clips):
    """A server with a stream whose fragments are in finished segments and, some, in the journal."""
    server = serve("data", "--set", "video.target_seconds=1", "--set", "shard_log.segment_seconds=2")
    publish(ffmpeg_publisher(clips(seconds=5), server.publish_url("door")))
    server.quiet("door")
    wait_until("a segment is finished", lambda: list((server.data / "segments").glob("*.seg")))
    return server


def test_beside_a_server_and_alone(recorded):
    server = recorded
    told = verify(server.data)
    assert told["findings"] == [] and told["report"]["sound"]
    assert told["report"]["blocks"] >= 3 and not told["report"]["journalChecked"]
    text = run("verify", "--data", server.data)
    assert text.returncode == 0 and "sound" in text.stdout and "the journal was not checked" in text.stdout
    server.stop()
    told = verify(server.data)
    assert told["report"]["sound"] and told["report"]["journalChecked"]
    assert not (server.data / "verify.state").exists()


def test_a_flipped_bit_is_named_and_the_rest_plays(recorded):
    server = recorded
    fragments = server.fragments("door")
    server.stop()
    segment = max((server.data / "segments").glob("*.seg"), key=lambda f: f.stat().st_size)
    bytes_ = bytearray(segment.read_bytes())
    bytes_[64 + 1000] ^= 4
    segment.write_bytes(bytes_)
    told = verify(server.data, expect=1)
    [found] = told["findings"]
    assert found["severity"] == "damage" and found["place"] == f"segments/{segment.name}"
    assert found["offset"] == 64 and found["bytes"] > 1000
    assert told["report"]["damagedBytes"] == found["bytes"]
    position = found["positions"]["first"]
    assert found["positions"]["end"] == position + 1 and position in [f["position"] for f in fragments]
    text = run("verify", "--data", server.data)
    assert text.returncode == 1 and f"position {position}" in text.stdout and "DAMAGED" in text.stdout

    server.start()
    playlist = fetch(server.http, server.whole("door"))
    status = [server.http.get(s.uri).status_code for s in playlist.segments]
    damaged = status.pop([f["position"] for f in fragments].index(position))
    assert damaged >= 500
    assert len(status) == len(fragments) - 1 and set(status) == {200}


def test_what_cannot_be_checked_is_said(tmp_path, recorded):
    r = run("verify", "--data", tmp_path / "nothing")
    assert r.returncode == 2 and "nothing" in r.stderr and r.stdout == ""
    recorded.stop()
    key = recorded.data / "master.key"
    key.write_text("A" * 43 + "=\n")
    r = run("verify", "--data", recorded.data)
    assert r.returncode == 2 and "master key" in r.stderr, r
