"""Splits, merges and counts under load, by seeds: each record once, keys in order, also through kill -9."""

import json
import os
import random
import shutil
import threading

import pytest
from support.server import run
from support.streams import AWAY, OFF, Follower, Reader, Writers, active, client, make, open_shards, reshard
from support.wait import wait_until

SOAK = os.environ.get("RUSHES_SOAK") == "1"
SEEDS = range(60 if SOAK else 5)
TURNS = 12 if SOAK else 6


def shards(kinesis, name):
    """All that there are, open and closed."""
    pages = kinesis.get_paginator("list_shards").paginate(StreamName=name)
    return {s["ShardId"] for page in pages for s in page["Shards"]}


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_put_is_read_in_order_through_splits_and_merges(serve, seed):
    dice, server = random.Random(seed), serve("data", *OFF)
    kinesis = client(server)
    make(kinesis, "s", 2)
    follower = Follower(lambda: client(server), "s")
    follower.start()
    try:
        with Writers(lambda: client(server), "s") as w:
            for _ in range(TURNS):
                before = shards(kinesis, "s")
                reshard(kinesis, "s", dice)
                active(kinesis, "s")
                assert shards(kinesis, "s") > before
        assert all(n >= 0 for n in w.acknowledged.values()) and not w.unanswered
    finally:
        seen = follower.all()
    w.check(seen)


@pytest.mark.parametrize("journal", [True, False])
def test_a_snapshot_older_than_splits_is_put_back(serve, tmp_path, journal):
    server, file = serve("data", *OFF), tmp_path / "catalog.backup"
    kinesis = client(server)
    make(kinesis, "s", 2)
    put, count = {f"key-{n}": 0 for n in range(8)}, 5

    def more():
        for key in put:
            for _ in range(count):
                kinesis.put_record(StreamName="s", PartitionKey=key, Data=str(put[key]))
                put[key] += 1

    more()
    borders = [s["HashKeyRange"] for s in open_shards(kinesis, "s")]
    assert run("catalog", "backup", file, "--data", server.data).returncode == 0
    for target in 4, 3:
        kinesis.update_shard_count(StreamName="s", TargetShardCount=target, ScalingType="UNIFORM_SCALING")
        active(kinesis, "s")
        more()
    # An ordinary end moves everything to segments.
    if journal:
        server.kill()
    else:
        server.stop()
        shutil.rmtree(server.data / "journal")
    assert run("catalog", "restore", file, "--data", server.data, "--force").returncode == 0
    server.start()
    kinesis = client(server)
    active(kinesis, "s")
    assert [s["HashKeyRange"] for s in open_shards(kinesis, "s")] == borders
    more()
    seen = Reader(kinesis, "s").all()
    assert sorted(seen) == sorted((key, n) for key in put for n in range(put[key]))
    for key in put:
        # Without the journal nobody knows the order of the shards between the snapshot and now.
        ordered = 0 if journal else put[key] - count
        assert [n for k, n in seen if k == key][ordered:] == list(range(ordered, put[key]))
    before = shards(kinesis, "s")
    kinesis.update_shard_count(StreamName="s", TargetShardCount=4, ScalingType="UNIFORM_SCALING")
    active(kinesis, "s")
    assert shards(kinesis, "s") > before
    more()
    assert len(Reader(kinesis, "s").all()) == sum(put.values())
    server.stop()
    r = run("verify", "--data", server.data, "--json")
    assert r.returncode == 0 and json.loads(r.stdout)["report"]["sound"], r


class Change(threading.Thread):
    """One change of the shards, whose server may be killed meanwhile. An answer that refuses it is a failure."""

    def __init__(self, kinesis, dice):
        super().__init__()
        self.kinesis, self.dice, self.failure = kinesis, dice, None
        self.start()

    def run(self):
        try:
            reshard(self.kinesis, "s", self.dice)
        except AWAY:
            pass
        except Exception as e:
            self.failure = e


@pytest.mark.parametrize("seed", SEEDS)
def test_kill_9_while_shards_are_split_and_merged(serve, seed):
    dice = random.Random(seed)
    server = serve("data", *OFF, "--set", "shard_log.journal_file_mib=1", "--set", "shard_log.segment_seconds=1")
    make(client(server), "s", 2)
    follower = Follower(lambda: client(server), "s")
    follower.start()
    resharded = 0
    try:
        with Writers(lambda: client(server), "s") as w:
            for turn in range(TURNS):
                before, there = dict(w.acknowledged), shards(client(server), "s")
                wait_until("each writer goes on", lambda: w.failure or all(w.acknowledged[k] > before[k] for k in before))
                change = Change(client(server), dice)
                # The first is answered before the server dies; the others are as far as they come.
                change.join(None if turn == 0 else dice.uniform(0, 0.05))
                server.kill()
                server.check_log()
                change.join()
                if change.failure:
                    raise change.failure
                server.start()
                active(client(server), "s")
                resharded += shards(client(server), "s") > there
    finally:
        seen = follower.all()
    assert resharded >= 1, "no change was begun"
    w.check(seen)
    # Who comes later reads the same, each record once.
    again = Reader(client(server), "s")
    w.check(again.all())
    assert again.numbers == follower.reader.numbers
