"""Data streams through boto3: records in and out, fan-out, and what goes wrong on the way."""

import base64
import json
import socket
import struct
import time
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from support.streams import OFF, Reader, client, code, make
from support.wait import wait_until


def test_records_stay_through_a_restart_and_in_segments(serve):
    server = serve("data", *OFF, "--set", "shard_log.segment_seconds=1", "--set", "shard_log.journal_file_mib=1", "--set", "shard_log.tail_mib=1")
    kinesis = client(server)
    make(kinesis, "s", 3)
    sent = {}
    for batch in range(12):
        records = [{"PartitionKey": f"k{n % 7}", "Data": f"{batch * 100 + n}".ljust(2000)} for n in range(100)]
        out = kinesis.put_records(StreamName="s", Records=records)
        assert out["FailedRecordCount"] == 0
        for r, o in zip(records, out["Records"]):
            sent[o["SequenceNumber"]] = (r["PartitionKey"], int(r["Data"]))
        if batch == 6:
            middle = time.time()
    server.restart()
    kinesis = client(server)
    reader = Reader(kinesis, "s")
    seen = reader.all()
    assert reader.numbers == set(sent) and sorted(seen) == sorted(sent.values())
    later = 0
    for s in kinesis.list_shards(StreamName="s")["Shards"]:
        it = kinesis.get_shard_iterator(StreamName="s", ShardId=s["ShardId"], ShardIteratorType="AT_TIMESTAMP", Timestamp=middle)
        while True:
            page = kinesis.get_records(ShardIterator=it["ShardIterator"])
            assert all(r["ApproximateArrivalTimestamp"].timestamp() >= middle - 0.001 for r in page["Records"])
            later += len(page["Records"])
            if not page["MillisBehindLatest"]:
                break
            it = {"ShardIterator": page["NextShardIterator"]}
    assert later == 500


def test_fan_out_pushes_at_once_and_tells_of_children(server):
    kinesis = client(server)
    arn = make(kinesis, "s")["StreamARN"]
    consumer = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="c")["Consumer"]
    assert consumer["ConsumerStatus"] == "ACTIVE"
    shard = "shardId-000000000000"
    subscribe = lambda: client(server).subscribe_to_shard(
        ConsumerARN=consumer["ConsumerARN"], ShardId=shard, StartingPosition={"Type": "TRIM_HORIZON"})
    events = iter(subscribe()["EventStream"])
    first = next(events)["SubscribeToShardEvent"]
    assert first["Records"] == [] and first["MillisBehindLatest"] == 0
    assert code(subscribe) == "ResourceInUseException", "again within five seconds"
    for n in range(5):
        sent = kinesis.put_record(StreamName="s", PartitionKey="k", Data=str(n))
        event = next(events)["SubscribeToShardEvent"]
        assert [r["Data"] for r in event["Records"]] == [str(n).encode()]
        assert event["ContinuationSequenceNumber"] == sent["SequenceNumber"]
    kinesis.split_shard(StreamName="s", ShardToSplit=shard, NewStartingHashKey=str(2**127))
    last = next(events)["SubscribeToShardEvent"]
    assert [c["ParentShards"] for c in last["ChildShards"]] == [[shard], [shard]]
    assert "ContinuationSequenceNumber" not in last, "by which the Kinesis Client Library knows the end"
    assert list(events) == [], "a shard's end is the stream's"
    kinesis.deregister_stream_consumer(ConsumerARN=consumer["ConsumerARN"])
    assert kinesis.list_stream_consumers(StreamARN=arn)["Consumers"] == []


def test_a_consumer_that_does_not_read_holds_up_nobody(serve):
    server = serve("data", *OFF)
    kinesis = client(server)
    arn = make(kinesis, "s")["StreamARN"]
    register = lambda n: kinesis.register_stream_consumer(StreamARN=arn, ConsumerName=n)["Consumer"]["ConsumerARN"]
    subscribe = lambda a: client(server).subscribe_to_shard(
        ConsumerARN=a, ShardId="shardId-000000000000", StartingPosition={"Type": "TRIM_HORIZON"})["EventStream"]
    lazy = subscribe(register("lazy"))
    busy = iter(subscribe(register("busy")))
    next(busy)
    got, sent = 0, 0
    for _ in range(8):
        kinesis.put_records(StreamName="s", Records=[{"PartitionKey": "k", "Data": b"x" * 50_000}] * 100)
        sent += 100
        while got < sent:
            got += len(next(busy)["SubscribeToShardEvent"]["Records"])
    assert got == sent
    lazy.close()


def sent_raw(server, operation, body, part=None):
    """A request by hand, of whose body only a part is sent; the open socket."""
    url, body = urlsplit(server.url), json.dumps(body).encode()
    request = AWSRequest("POST", f"{server.url}/", data=body, headers={
        "Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"Kinesis_20131202.{operation}", "Host": url.netloc})
    SigV4Auth(Credentials(server.key, server.secret), "kinesis", "us-east-1").add_auth(request)
    head = [f"{k}: {v}" for k, v in {**dict(request.headers.items()), "Content-Length": len(body)}.items()]
    s = socket.create_connection((url.hostname, url.port), timeout=20)
    s.sendall("\r\n".join(["POST / HTTP/1.1", *head, "", ""]).encode() + body[:part])
    return s


def vanish(s):
    """As a client whose machine goes down does: a reset, not a goodbye."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def test_clients_that_vanish(serve):
    server = serve("data", *OFF)
    kinesis = client(server)
    arn = make(kinesis, "s")["StreamARN"]
    record = {"StreamName": "s", "PartitionKey": "k", "Data": base64.b64encode(b"x" * 100_000).decode()}
    for _ in range(20):
        vanish(sent_raw(server, "PutRecord", record, part=50_000))
    consumer = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="c")["Consumer"]["ConsumerARN"]
    shard = "shardId-000000000000"
    subscription = sent_raw(server, "SubscribeToShard", {
        "ConsumerARN": consumer, "ShardId": shard, "StartingPosition": {"Type": "TRIM_HORIZON"}})
    assert b"200 OK" in subscription.recv(1000)
    subscribed = lambda n: f'rushes_consumer_subscriptions{{stream="s",consumer="c"}} {n}' in server.request("GET", "/metrics").text
    wait_until("the subscription is there", lambda: subscribed(1))
    vanish(subscription)
    wait_until("the subscription is gone", lambda: subscribed(0))
    # Nothing half was stored, nobody is held up, and the consumer may come back.
    kinesis.put_record(StreamName="s", PartitionKey="k", Data=b"whole")
    events = kinesis.subscribe_to_shard(ConsumerARN=consumer, ShardId=shard, StartingPosition={"Type": "TRIM_HORIZON"})["EventStream"]
    first = next(iter(events))["SubscribeToShardEvent"]
    assert [r["Data"] for r in first["Records"]] == [b"whole"]
    events.close()


def test_the_api_s_settings(serve):
    server = serve("data")
    kinesis = client(server)
    d = make(kinesis, "s", 2)
    arn = d["StreamARN"]
    assert arn == "arn:aws:kinesis:us-east-1:000000000000:stream/s"
    assert (d["OpenShardCount"], d["RetentionPeriodHours"], d["EncryptionType"]) == (2, 24, "NONE")
    assert code(kinesis.create_stream, StreamName="s", ShardCount=1) == "ResourceInUseException"
    assert code(kinesis.describe_stream, StreamName="t") == "ResourceNotFoundException"
    kinesis.increase_stream_retention_period(StreamName="s", RetentionPeriodHours=48)
    assert code(kinesis.increase_stream_retention_period, StreamName="s", RetentionPeriodHours=24) == "InvalidArgumentException"
    kinesis.add_tags_to_stream(StreamName="s", Tags={"a": "1", "b": "2"})
    kinesis.tag_resource(ResourceARN=arn, Tags={"c": "3"})
    kinesis.untag_resource(ResourceARN=arn, TagKeys=["a"])
    assert {t["Key"]: t["Value"] for t in kinesis.list_tags_for_stream(StreamName="s")["Tags"]} == {"b": "2", "c": "3"}
    kinesis.start_stream_encryption(StreamName="s", EncryptionType="KMS", KeyId="alias/aws/kinesis")
    assert kinesis.put_record(StreamName="s", PartitionKey="k", Data=b"x")["EncryptionType"] == "KMS"
    kinesis.enable_enhanced_monitoring(StreamName="s", ShardLevelMetrics=["ALL"])
    kinesis.update_stream_mode(StreamARN=arn, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    assert code(kinesis.update_shard_count, StreamName="s", TargetShardCount=4, ScalingType="UNIFORM_SCALING") == "ValidationException"
    server.restart()
    kinesis = client(server)
    d = kinesis.describe_stream(StreamName="s")["StreamDescription"]
    assert (d["RetentionPeriodHours"], d["EncryptionType"], d["KeyId"]) == (48, "KMS", "alias/aws/kinesis")
    assert d["StreamModeDetails"] == {"StreamMode": "ON_DEMAND"}
    assert len(d["EnhancedMonitoring"][0]["ShardLevelMetrics"]) == 7
    kinesis.delete_stream(StreamName="s")
    assert kinesis.list_streams()["StreamNames"] == []


def test_quotas_are_amazon_s(server):
    kinesis = client(server)
    make(kinesis, "s")
    out = kinesis.put_records(StreamName="s", Records=[{"PartitionKey": "k", "Data": b"x" * 40_000}] * 50)
    codes = {r.get("ErrorCode") for r in out["Records"]}
    assert codes == {None, "ProvisionedThroughputExceededException"} and 20 <= out["FailedRecordCount"] <= 30
    it = kinesis.get_shard_iterator(StreamName="s", ShardId="shardId-000000000000", ShardIteratorType="LATEST")["ShardIterator"]
    assert f'rushes_stream_put_refused_total{{stream="s"}} {out["FailedRecordCount"]}' in server.request("GET", "/metrics").text
    refused = 0
    for _ in range(12):
        try:
            kinesis.get_records(ShardIterator=it)
        except ClientError as e:
            assert e.response["Error"]["Code"] == "ProvisionedThroughputExceededException"
            refused += 1
    assert refused, "five calls a second"


def test_a_hundred_thousand_shards(serve):
    server = serve("data", *OFF)
    kinesis = client(server)
    rss = lambda: int(next(line for line in open(f"/proc/{server.process.pid}/status") if line.startswith("VmRSS")).split()[1]) * 1024
    kinesis.list_streams()
    before = rss()
    kinesis.create_stream(StreamName="many", ShardCount=100_000)
    wait_until("they are all there", lambda: kinesis.describe_stream_summary(StreamName="many")["StreamDescriptionSummary"]["OpenShardCount"] == 100_000, seconds=120)
    server.restart()
    kinesis = client(server)
    ids, ask = [], {"StreamName": "many"}
    while ask:
        page = kinesis.list_shards(**ask)
        ids += [s["ShardId"] for s in page["Shards"]]
        ask = {"NextToken": page["NextToken"]} if "NextToken" in page else None
    assert len(ids) == 100_000 and len(set(ids)) == 100_000
    pages = kinesis.get_paginator("describe_stream").paginate(StreamName="many")
    described = [[s["ShardId"] for s in page["StreamDescription"]["Shards"]] for page in pages]
    assert len(described) == 1000 and sum(described, []) == ids
    each = (rss() - before) / 100_000
    print(f"{each:.0f} bytes of memory for each idle shard")
    assert each <= 2048
    sent = kinesis.put_records(StreamName="many", Records=[{"PartitionKey": f"k{n}", "Data": str(n)} for n in range(500)])["Records"]
    r = sent[123]
    it = kinesis.get_shard_iterator(StreamName="many", ShardId=r["ShardId"], ShardIteratorType="AT_SEQUENCE_NUMBER", StartingSequenceNumber=r["SequenceNumber"])
    assert kinesis.get_records(ShardIterator=it["ShardIterator"])["Records"][0]["Data"] == b"123"
