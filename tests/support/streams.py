"""Data streams by boto3: clients, producers that note what was acknowledged, and a reader that follows resharding."""

import collections
import threading

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NotConnected

from support.wait import wait_until

OFF = ("--set", "streams.limits=off")

#: What a call fails by when its server is killed. An answer, whatever it says, is none of these.
AWAY = (NotConnected, HTTPClientError)


def client(server, **more):
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30, max_pool_connections=32, **more)
    return boto3.client("kinesis", endpoint_url=server.url, region_name="us-east-1", aws_access_key_id=server.key,
                        aws_secret_access_key=server.secret, config=config)


def make(kinesis, name, shards=1):
    kinesis.create_stream(StreamName=name, ShardCount=shards)
    return active(kinesis, name)


def active(kinesis, name):
    def look():
        d = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
        return d if d["StreamStatus"] == "ACTIVE" else None
    return wait_until(f"{name} is ACTIVE", look)


def code(call, **k):
    with pytest.raises(ClientError) as e:
        call(**k)
    return e.value.response["Error"]["Code"]


class Reader:
    """Reads a stream from its beginning as the Kinesis client library does: children once all their parents are read.

    A call that fails changes nothing: the step is taken again.
    """

    def __init__(self, kinesis, name):
        self.kinesis, self.name = kinesis, name
        self.seen, self.numbers = [], set()
        self.open, self.ended, self.waiting = {}, set(), {}
        for s in kinesis.list_shards(StreamName=name, ShardFilter={"Type": "AT_TRIM_HORIZON"})["Shards"]:
            self.begin(s["ShardId"])

    def begin(self, shard):
        self.open[shard] = self.kinesis.get_shard_iterator(
            StreamName=self.name, ShardId=shard, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]

    def step(self):
        """Once around; whether there was anything."""
        busy = False
        for shard, iterator in list(self.open.items()):
            page = self.kinesis.get_records(ShardIterator=iterator)
            for r in page["Records"]:
                assert r["SequenceNumber"] not in self.numbers, "each record once"
                self.numbers.add(r["SequenceNumber"])
                self.seen.append((r["PartitionKey"], int(r["Data"])))
                busy = True
            if page.get("NextShardIterator"):
                self.open[shard] = page["NextShardIterator"]
            else:
                busy = True
                del self.open[shard]
                self.ended.add(shard)
                for c in page["ChildShards"]:
                    self.waiting[c["ShardId"]] = set(c["ParentShards"])
        for child in [c for c, parents in self.waiting.items() if parents <= self.ended]:
            self.begin(child)
            del self.waiting[child]
            busy = True
        return busy

    def all(self):
        while self.step():
            pass
        assert not self.waiting
        return self.seen


class Follower(threading.Thread):
    """A `Reader` that reads on while the stream is written and its server is killed, on a thread of its own."""

    def __init__(self, make_client, name):
        super().__init__()
        self.reader, self.make_client = Reader(make_client(), name), make_client
        self.stop, self.failure = threading.Event(), None

    def run(self):
        busy = True
        while self.failure is None and (busy or not self.stop.is_set()):
            try:
                busy = self.reader.step()
            except AWAY:
                # Who wants an end gets it: what is left is read by whoever asks for it.
                busy, self.reader.kinesis = not self.stop.is_set(), self.make_client()
            except Exception as e:
                self.failure = e

    def all(self):
        """Reads what is there, and ends."""
        self.stop.set()
        self.join()
        if self.failure:
            raise self.failure
        return self.reader.all()


class Writers:
    """Threads that put ascending numbers under a key each, and know which were acknowledged. What fails is put again."""

    def __init__(self, make_client, name, count=3):
        self.stop, self.acknowledged = threading.Event(), {f"key-{n}": -1 for n in range(count)}
        #: How often each (key, number) was put without an answer: so many more of it may be there.
        self.unanswered = collections.Counter()
        self.failure = None
        self.threads = [threading.Thread(target=self.run, args=(make_client, name, key)) for key in self.acknowledged]

    def run(self, make_client, name, key):
        kinesis, n = make_client(), 0
        while not self.stop.is_set():
            try:
                kinesis.put_record(StreamName=name, PartitionKey=key, Data=str(n))
            except AWAY:
                self.unanswered[key, n] += 1
                kinesis = make_client()
                continue
            except Exception as e:
                self.failure = e
                return
            self.acknowledged[key] = n
            n += 1

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for t in self.threads:
            t.join()
        if self.failure:
            raise self.failure

    def check(self, seen):
        """`seen`, in the order of reading, has what was acknowledged: by key in order, and nothing more often than it was put."""
        for key, last in self.acknowledged.items():
            numbers = [n for k, n in seen if k == key]
            once = [n for i, n in enumerate(numbers) if i == 0 or n != numbers[i - 1]]
            assert once[: last + 1] == list(range(last + 1)), key
            assert once[last + 1:] in ([], [last + 1]), f"{key}: what was not put"
            for n, times in collections.Counter(numbers).items():
                most = self.unanswered[key, n] + (n <= last)
                assert times <= most, f"{key}: {n} is there {times} times, and was put {most} times"


def open_shards(kinesis, name):
    """Those that take records, by hash key."""
    shards = kinesis.list_shards(StreamName=name, ShardFilter={"Type": "AT_LATEST"})["Shards"]
    return sorted(shards, key=lambda s: int(s["HashKeyRange"]["StartingHashKey"]))


def reshard(kinesis, name, dice):
    """A split, a merge or another count, as `dice` (a `random.Random`) falls."""
    shards = open_shards(kinesis, name)
    what = dice.choice(["split", "merge", "count"] if len(shards) > 1 else ["split", "count"])
    if what == "split":
        s = dice.choice(shards)
        low, high = (int(s["HashKeyRange"][k]) for k in ("StartingHashKey", "EndingHashKey"))
        kinesis.split_shard(StreamName=name, ShardToSplit=s["ShardId"],
                            NewStartingHashKey=str(low + (high - low) // dice.choice([2, 3, 7])))
    elif what == "merge":
        n = dice.randrange(len(shards) - 1)
        kinesis.merge_shards(StreamName=name, ShardToMerge=shards[n]["ShardId"], AdjacentShardToMerge=shards[n + 1]["ShardId"])
    else:
        count = dice.choice([n for n in range(1, 6) if n != len(shards)])
        kinesis.update_shard_count(StreamName=name, TargetShardCount=count, ScalingType="UNIFORM_SCALING")
