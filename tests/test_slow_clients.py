"""Clients that send slowly, do not read, or are gone without a word: others go on, and memory has an end."""

import json
import pathlib
import socket
import threading
import time
from urllib.parse import urlsplit

import botocore.session
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from support.streams import OFF, client, code, make
from support.wait import wait_until

JSON = "application/x-amz-json-1.1"
MIB = 1 << 20


def signed(server, operation, body):
    """A request's header fields."""
    request = AWSRequest("POST", f"{server.url}/", data=body, headers={"content-type": JSON, "x-amz-target": f"Kinesis_20131202.{operation}"})
    SigV4Auth(Credentials(server.key, server.secret), "kinesis", "us-east-1").add_auth(request)
    return request.headers.items()


def head(server, operation, body):
    """A request's bytes up to its body, signed."""
    lines = "".join(f"{k}: {v}\r\n" for k, v in signed(server, operation, body))
    return f"POST / HTTP/1.1\r\nHost: {urlsplit(server.url).netloc}\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode()


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING = 0, 1, 4, 6
END_STREAM, ACK, END_HEADERS = 1, 1, 4


def frame(kind, flags, stream, payload=b""):
    """Of HTTP/2 (RFC 9113 §4.1)."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def text(value):
    """A string of HPACK's (RFC 7541 §5.2), its length in seven bits and what they do not hold."""
    n, rest = min(len(value), 127), b""
    if n == 127:
        left = len(value) - 127
        while left >= 128:
            rest += bytes([left % 128 | 128])
            left //= 128
        rest += bytes([left])
    return bytes([n]) + rest + value


def field(name, value, how=0):
    """A header field by its name."""
    return bytes([how]) + text(name) + text(value)


def begin(authority):
    """`POST /`"""
    return bytes([0x83, 0x86, 0x84, 0x01]) + text(authority)


def frames(s):
    """What comes: type, flags, stream, payload."""
    with s.makefile("rb") as f:
        while h := f.read(9):
            yield h[3], h[4], int.from_bytes(h[5:]), f.read(int.from_bytes(h[:3]))


def connect(server, seconds=60):
    where = urlsplit(server.url)
    return socket.create_connection((where.hostname, where.port), seconds)


def resident(server):
    """Bytes of the server's own memory."""
    for line in pathlib.Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024


def test_a_body_that_does_not_come_is_not_waited_for_longer_than_it_may_take(server):
    body = json.dumps({"StreamName": "x" * 100}).encode()
    s, stop = connect(server), threading.Event()
    begun = time.monotonic()
    s.sendall(head(server, "DescribeStreamSummary", body) + body[:10])

    def trickle():
        # Something comes again and again, but never all of it.
        for i in range(10, len(body) - 1):
            if stop.wait(1):
                return
            try:
                s.sendall(body[i:i + 1])
            except OSError:
                return

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        answer = s.recv(65536)
        took = time.monotonic() - begun
    finally:
        stop.set()
        thread.join()
        s.close()
    assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert b"RequestTimeout" in answer and took > 15


@pytest.mark.parametrize("path", ["/v1/cameras", "/v1/session", "/whip/x"])
def test_nor_is_one_that_is_nobodys(server, path):
    s = connect(server)
    begun = time.monotonic()
    s.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 200000\r\n\r\n".encode() + b"{" + b" " * 1000)
    answer = s.recv(65536)
    s.close()
    assert answer.startswith(b"HTTP/1.1 408 ") and b'"Timeout"' in answer, answer
    assert 15 < time.monotonic() - begun < 40


def test_heads_that_do_not_end_fill_no_memory(server):
    before, half = resident(server), []
    for _ in range(300):
        s = connect(server)
        s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 300_000)
        half.append(s)
    # Whose head is too large is told so, before it ends.
    assert all(s.recv(12).endswith(b" 431") for s in half)
    assert client(server).list_streams()["StreamNames"] == []
    assert resident(server) - before < 80 * MIB


def test_header_fields_that_take_a_byte_each_fill_no_memory(server):
    """HPACK's table (RFC 7541): a field is sent once, and then told by its number."""
    meant = field(b"x-amz-target", b"Kinesis_20131202.PutRecord") + field(b"content-type", JSON.encode())
    request = begin(b"x") + meant
    fields = bytes([0x80 | 62]) * 1500
    before, connections = resident(server), []
    for _ in range(20):
        s = connect(server)
        # A field becomes number 62; the bodies of these requests never come.
        s.sendall(PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS, 1, request + field(b"a", b"", 0x40) + fields)
                  + b"".join(frame(HEADERS, END_HEADERS, 2 * n + 1, request + fields) for n in range(1, 256)))
        connections.append(s)
    assert client(server).list_streams()["StreamNames"] == []
    time.sleep(1)
    assert resident(server) - before < 100 * MIB
    for s in connections:
        s.close()


def lists():
    """The model's operations that take lists or maps: the operation, the member, and whether it is a map, of structures or of texts."""
    service = botocore.session.get_session().get_service_model("kinesis")
    for name in service.operation_names:
        takes = service.operation_model(name).input_shape
        for member, shape in (takes.members if takes else {}).items():
            if shape.type_name in ("list", "map") and "Channel" not in name and "Queue" not in name:
                yield name, member, "map" if shape.type_name == "map" else shape.member.type_name


def test_lists_of_nothing_fill_no_memory(serve):
    """Elements of a byte or two, as many as a request holds."""
    server = serve("data", *OFF)
    make(client(server), "s")
    most, stop = 0, threading.Event()

    def watch():
        nonlocal most
        while not stop.wait(0.001):
            most = max(most, resident(server))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        for operation, member, kind in sorted(lists(), key=lambda l: l[0] == "PutRecords"):
            size = (15 if operation == "PutRecords" else 2) * MIB - 1000
            match kind:
                case "map":
                    listed = "{" + ",".join(f'"{n}":""' for n in range(size // 13)) + "}"
                case "structure":
                    listed = "[" + ",".join(["{}"] * (size // 3)) + "]"
                case _:
                    listed = "[" + ",".join(['""'] * (size // 3)) + "]"
            body = f'{{"{member}":{listed}}}'.encode()
            before = most = resident(server)
            with connect(server) as s:
                s.sendall(head(server, operation, body) + body)
                answer = s.recv(65536)
            assert answer.startswith(b"HTTP/1.1 400 ") and b"ValidationException" in answer, (operation, answer[:300])
            # The body itself, twice as its buffer grows, and a little.
            assert most - before < 3 * size + 4 * MIB, (operation, most - before)
    finally:
        stop.set()
        watching.join()


def megabytes(kinesis):
    """An iterator of a new stream: what it gives is an answer of 14 MB."""
    make(kinesis, "s")
    for n in range(12):
        kinesis.put_record(StreamName="s", PartitionKey="k", Data=bytes([n]) * (MIB - 1))
    it = kinesis.get_shard_iterator(StreamName="s", ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
    assert len(kinesis.get_records(ShardIterator=it)["Records"]) >= 9, "an answer of megabytes"
    return it


def test_clients_that_never_read_do_not_fill_the_memory(serve):
    server = serve("data", *OFF)
    kinesis = client(server)
    it = megabytes(kinesis)
    before = resident(server)
    body = json.dumps({"ShardIterator": it}).encode()
    asked = head(server, "GetRecords", body) + body
    # Twice as many as there is room for: 14 MB each.
    silent = []
    for _ in range(80):
        s = connect(server)
        # As little as possible waits in the system.
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.sendall(asked)
        silent.append(s)
    # Those for whom there was no room are told so; the others' answers wait for them.
    for s in silent:
        s.settimeout(30)
        assert s.recv(1, socket.MSG_PEEK)
    told = [s.recv(12, socket.MSG_PEEK) for s in silent]
    refused = sum(t.endswith(b" 503") for t in told)
    assert 0 < refused < 80 and all(t.endswith((b" 200", b" 503")) for t in told)
    assert resident(server) - before < 700 * MIB
    # What is small is answered, and what was put is taken, all the while.
    assert kinesis.put_record(StreamName="s", PartitionKey="k", Data=b"x")["SequenceNumber"]
    assert code(kinesis.get_records, ShardIterator=it) == "ServiceUnavailable"
    for s in silent:
        s.close()
    again = lambda: code_or_none(kinesis, it) is None
    wait_until("room again", again)


@pytest.mark.parametrize("window", [0, 1])
def test_nor_does_one_that_opens_no_window(serve, window):
    """HTTP/2's (RFC 9113 §5.2): the answers of one connection wait in the server. With a window of a byte they are with what sends them."""
    server = serve("data", *OFF)
    kinesis = client(server)
    it = megabytes(kinesis)
    before, body = resident(server), json.dumps({"ShardIterator": it}).encode()
    request = begin(urlsplit(server.url).netloc.encode()) + b"".join(field(k.lower().encode(), v.encode()) for k, v in signed(server, "GetRecords", body))
    s, streams, heads = connect(server), range(1, 160, 2), {}
    s.sendall(PREFACE + frame(SETTINGS, 0, 0, b"\0\x04" + window.to_bytes(4)))
    for n in streams:
        s.sendall(frame(HEADERS, END_HEADERS, n, request) + frame(DATA, END_STREAM, n, body))
    for kind, flags, stream, payload in frames(s):
        if kind == PING and not flags & ACK:
            s.sendall(frame(PING, ACK, 0, payload))
        if kind == HEADERS:
            # 200 is number 8 of the static table; whatever else there is is a refusal.
            heads[stream] = payload[0] == 0x88
        if len(heads) == len(streams):
            break
    assert set(heads) == set(streams)
    assert 0 < sum(heads.values()) < len(streams), heads
    assert resident(server) - before < 700 * MIB
    assert kinesis.put_record(StreamName="s", PartitionKey="k", Data=b"x")["SequenceNumber"]
    assert code(kinesis.get_records, ShardIterator=it) == "ServiceUnavailable"
    s.close()
    wait_until("room again", lambda: code_or_none(kinesis, it) is None)


def code_or_none(kinesis, it):
    try:
        kinesis.get_records(ShardIterator=it)
    except kinesis.exceptions.ClientError as e:
        return e.response["Error"]["Code"]


@pytest.mark.skipif(not pathlib.Path("/proc/net/tcp").exists(), reason="Linux shows its timers")
def test_the_system_asks_whether_a_silent_client_is_still_there(server):
    s = connect(server)
    ours, theirs = s.getsockname()[1], urlsplit(server.url).port

    def timer():
        for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
            f = line.split()
            if (int(f[1].split(":")[1], 16), int(f[2].split(":")[1], 16)) == (theirs, ours):
                return f[5].split(":")[0]

    # 2: one that is no retransmission; the connection has nothing to send.
    wait_until("the timer of keep-alive", lambda: timer() == "02")
    s.close()


def test_bursts_of_little_memory_take_little(server):
    """The kernel gives the process no huge pages, of which each burst would have it clear two megabytes."""
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    assert "THP_enabled:\t0" in status
