"""How long recordings stay: budgets, pins, a full disk, and what can be changed while running."""

import signal

import pytest

from support.server import ApiError, run
from support.wait import stays, wait_until


def metric(server, name):
    lines = server.request("GET", "/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name) and not line.startswith("#"))


def settled(server):
    """Waits until everything is in closed segments."""
    wait_until("all segments are closed", lambda: metric(server, "rushes_log_open_segments") == 0)


def rushes(server, *arguments, **how):
    return run(*arguments, "--data", server.data, **how)


def bring(server, name, clip, start, ok=True):
    r = rushes(server, "import", name, clip, "--start", start)
    assert (r.returncode == 0) == ok, r
    return r.stderr


def said(server, *arguments):
    r = rushes(server, "stream", *arguments)
    assert r.returncode == 0, r.stderr
    return r.stdout


def test_a_budget_takes_the_oldest_and_a_pin_outlives_it(serve, clips):
    server = serve("data", "--set", "shard_log.segment_seconds=0.2", "--set", "video.target_seconds=1")
    bring(server, "door", clips(seconds=6), "2026-01-01T12:00:00Z")
    settled(server)
    all_of_it = [f["position"] for f in server.fragments("door")]
    assert len(all_of_it) >= 5
    arrived = server.fragments("door")[0]["serverTime"]
    assert "any age and any size; then overwrites" in said(server, "show", "door")

    assert "pinned" in said(server, "pin", "door", "--from", arrived, "--to", arrived, "--note", "the van")
    pin = server.call("GET", "/v1/streams/door/pins")["pins"][0]
    assert pin["note"] == "the van" and pin["from"] == pin["to"] == arrived
    assert "the van" in said(server, "pins", "door")
    # By the time at which it was seen: that of its arrival follows.
    said(server, "pin", "door", "--from", "2026-01-01T12:00:01Z", "--to", "2026-01-01T12:00:02Z", "--by", "producer", "--note", "seen")
    seen = next(p for p in server.call("GET", "/v1/streams/door/pins")["pins"] if p["note"] == "seen")
    assert arrived <= seen["from"] <= seen["to"] <= server.fragments("door")[-1]["serverTime"]
    server.call("DELETE", f"/v1/streams/door/pins/{seen['id']}")
    with pytest.raises(ApiError) as e:
        server.call("POST", "/v1/streams/door/pins", {"from": "2026-01-02T00:00:00Z", "to": "2026-01-02T01:00:00Z", "by": "producer"})
    assert e.value.status == 404, e.value
    assert "30 days and 1.0 kB" in said(server, "set", "door", "--bytes", "1kB", "--retention", "30d")
    stays("the pin holds", lambda: [f["position"] for f in server.fragments("door")] == all_of_it, 2)

    url = server.whole("door")
    said(server, "unpin", "door", pin["id"])
    wait_until("the budget is kept", lambda: server.fragments("door") == [])
    wait_until("it is counted", lambda: metric(server, 'rushes_log_removed_bytes_total{reason="stream"}') > 10_000, 5)
    wait_until("the bytes are gone", lambda: list((server.data / "segments").glob("*.seg")) == [])
    assert server.request("GET", url.removeprefix(server.url)).status_code in (404, 410)
    assert server.call("GET", "/v1/streams/door")["recorded"] is None

    # It goes on taking, keeps what it was told across a start, and unlearns it.
    bring(server, "door", clips(seconds=6), "2026-01-01T13:00:00Z")
    server.restart()
    assert server.call("GET", "/v1/streams/door")["retention"] == {
        "hours": 720.0, "bytes": 1000, "onFull": "overwrite", "set": ["hours", "bytes"]}
    assert "any age and any size; then refuses" in said(
        server, "set", "door", "--bytes", "unlimited", "--retention", "default", "--on-full", "refuse")


def test_a_stream_that_may_not_overwrite_refuses_and_resumes(serve, clips):
    server = serve("data", "--set", "video.target_seconds=1")
    bring(server, "door", clips(seconds=6), "2026-01-01T12:00:00Z")
    said(server, "set", "door", "--bytes", "1kB", "--on-full", "refuse")
    before = server.fragments("door")
    start = iter(range(1, 60))
    words = wait_until("it is refused", lambda: refusal(server, "door", clips(seconds=6), next(start)))
    assert "1000" in words and "does not overwrite" in words, words
    assert server.fragments("door")[: len(before)] == before
    said(server, "set", "door", "--bytes", "1GB")
    wait_until("it resumes", lambda: not refusal(server, "door", clips(seconds=6), next(start)), every=0.5)


def refusal(server, name, clip, minute):
    r = rushes(server, "import", name, clip, "--start", f"2026-02-01T12:{minute:02}:00Z")
    return r.stderr if r.returncode else ""


def test_a_full_disk_refuses_everything_until_there_is_room(serve, clips, tmp_path):
    """The floor is what makes it full: more than any disk has."""
    config = tmp_path / "rushes.toml"
    config.write_text('[retention]\nfree_floor = "900PB"\n')
    server = serve("data", "--config", str(config), "--set", "video.target_seconds=1")
    start = iter(range(1, 60))
    words = wait_until("it is refused", lambda: refusal(server, "door", clips(seconds=6), next(start)))
    assert "MiB free" in words and "kept free" in words, words
    assert server.call("GET", "/v1/streams") is not None, "reads go on"

    # A configuration that does not hold changes nothing.
    config.write_text('[retention]\nfree_flor = "0"\n')
    server.process.send_signal(signal.SIGHUP)
    wait_until("it says so", lambda: "did you mean \\\"retention.free_floor\\\"" in server.tail() or "free_floor" in server.tail())
    assert refusal(server, "door", clips(seconds=6), next(start))
    config.write_text('[retention]\nfree_floor = "0"\ndefault_age = "30d"\n')
    server.process.send_signal(signal.SIGHUP)
    wait_until("it resumes", lambda: not refusal(server, "door", clips(seconds=6), next(start)), every=0.5)
    assert server.call("GET", "/v1/streams/door")["retention"]["hours"] == 720


def test_what_makes_no_sense_is_said(server):
    server.call("POST", "/v1/streams", {"name": "a"})
    for arguments, words in [
        (["set", "a"], "--retention"),
        (["set", "a", "--retention", "11y"], "at most 10y"),
        (["set", "a", "--bytes", "many"], "500GB"),
        (["set", "a", "--on-full", "explode"], "overwrite"),
        (["set", "nobody", "--bytes", "1GB"], "nobody"),
        (["pin", "a", "--from", "2026-01-02T00:00:00Z", "--to", "2026-01-01T00:00:00Z"], "before"),
        (["unpin", "a", "0123"], "0123"),
        (["pins", "nobody"], "nobody"),
    ]:
        r = rushes(server, "stream", *arguments)
        assert r.returncode != 0 and words in r.stderr, (arguments, r)
    for body in ({"retention": {"hours": -1}}, {"retention": {"bytes": "x"}}, {"retention": {"age": 1}}, {"x": 1}):
        with pytest.raises(ApiError) as e:
            server.call("PATCH", "/v1/streams/a", body)
        assert e.value.status == 400, body
