"""What streams and consumers used, through restarts and kill -9, and what it costs."""

import json

import pytest

from support.server import run
from support.streams import OFF, client, make

SHARD = "shardId-000000000000"


def usage(server, *flags):
    out = run("usage", "--data", server.data, "--json", *flags)
    assert out.returncode == 0, out.stderr
    answer = json.loads(out.stdout)
    return answer, {(r["stream"], r.get("consumer")): r for r in answer["rows"]}


def test_what_was_used_survives_and_has_a_price(serve):
    server = serve("data", *OFF, "--set", "usage.currency=EUR", "--set", "usage.put_units_million=2500", "--set", "usage.consumer_gb_out=1000")
    kinesis = client(server)
    arn = make(kinesis, "s")["StreamARN"]
    put = lambda n: kinesis.put_records(StreamName="s", Records=[{"PartitionKey": "k", "Data": b"x" * 29_999}] * n)
    put(100)
    it = kinesis.get_shard_iterator(StreamName="s", ShardId=SHARD, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
    assert len(kinesis.get_records(ShardIterator=it)["Records"]) == 100
    consumer = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="c")["Consumer"]["ConsumerARN"]
    events = kinesis.subscribe_to_shard(ConsumerARN=consumer, ShardId=SHARD, StartingPosition={"Type": "TRIM_HORIZON"})["EventStream"]
    got = 0
    for event in events:
        got += len(event["SubscribeToShardEvent"]["Records"])
        if got == 100:
            break
    metrics = server.request("GET", "/metrics").text
    assert 'rushes_consumer_records_total{stream="s",consumer="c"} 100' in metrics
    assert 'rushes_consumer_subscriptions{stream="s",consumer="c"} 1' in metrics
    events.close()
    answer, rows = usage(server)
    used = {"recordsIn": 100, "bytesIn": 3_000_000, "putUnits": 200, "recordsOut": 100, "bytesOut": 3_000_000}
    assert used.items() <= rows["s", None]["used"].items()
    assert {"recordsOut": 100, "bytesOut": 3_000_000}.items() <= rows["s", "c"]["used"].items()
    assert (rows["s", None]["cost"], rows["s", "c"]["cost"]) == (pytest.approx(0.5), pytest.approx(3.0))
    assert (answer["currency"], answer["cost"]) == ("EUR", pytest.approx(3.5))
    # What was told was written down.
    server.kill()
    server.start()
    kinesis = client(server)
    _, rows = usage(server, "--since", "1h")
    assert used.items() <= rows["s", None]["used"].items() and rows["s", "c"]["used"]["recordsOut"] == 100
    put(1)
    server.restart()
    _, rows = usage(server)
    assert (rows["s", None]["used"]["recordsIn"], rows["s", None]["used"]["putUnits"]) == (101, 202)
    out = run("usage", "--data", server.data)
    assert "STREAM" in out.stdout and "3.5050 EUR in all" in out.stdout, out.stdout
    assert usage(server, "--since", "2100-01-01T00:00:00Z")[1] == {}
    assert "--since" in run("usage", "--data", server.data, "--since", "yesterday").stderr


def test_usage_is_for_who_may_see_it(server):
    assert server.http.get(f"{server.url}/v1/usage", auth=lambda r: r).status_code == 401
    assert server.http.get(f"{server.url}/v1/usage?since=x").status_code == 400
    assert server.http.get(f"{server.url}/v1/usage").json()["rows"] == []
