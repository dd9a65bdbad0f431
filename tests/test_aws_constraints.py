"""Each constraint of the published model violated, one at a time: AWS's error comes back, with the path and the rule.

Nothing here is written by hand but one good value for each pattern, and which operations are not there yet: operations, members
and constraints come from botocore's model of the service. In JSON and in CBOR.
"""

import base64
import copy
import gzip
import json
import pathlib
import struct

import botocore
import pytest
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.parsers import RpcV2CBORParser

from support.server import Server

MODEL = json.loads(gzip.decompress(
    (pathlib.Path(botocore.__file__).parent / "data/kinesis/2013-12-02/service-2.json.gz").read_bytes()))
SHAPES = MODEL["shapes"]
TARGET = MODEL["metadata"]["targetPrefix"]
ARN = "arn:aws:kinesis:us-east-1:000000000000"
#: One good value for each shape that has a pattern which "x" does not match.
GOOD = {
    "StreamARN": f"{ARN}:stream/x", "ResourceARN": f"{ARN}:stream/x", "ChannelARN": f"{ARN}:channel/x", "QueueARN": f"{ARN}:queue/x",
    "ConsumerARN": f"{ARN}:stream/x/consumer/c:1", "HashKey": "1", "SequenceNumber": "1", "StreamId": "a" * 20 + "-aaa",
}
#: Required by the service, though not by the model, unless the stream's records are distributed automatically.
NEEDED = {"PutRecordInput": ["PartitionKey"], "PutRecordsRequestEntry": ["PartitionKey"]}
#: Queues and channels: what there is to come.
ABSENT = {
    "AcknowledgeDeadLetterQueueRecords", "AcknowledgeQueueRecords", "CreateChannel", "CreateQueue", "DeleteChannel", "DeleteQueue",
    "DescribeChannel", "DescribeQueue", "ListChannels", "ListQueues", "ReceiveDeadLetterQueueRecords", "ReceiveQueueRecords",
    "RestoreDeadLetterQueueRecords", "UpdateChannel", "UpdateDeadLetterQueueRecordsVisibility", "UpdateQueue",
    "UpdateQueueRecordsVisibility",
}
THERE = sorted(MODEL["operations"].keys() - ABSENT)
#: Members that clients cannot send over our address, see the notes on endpoints of StreamId.
IGNORED = {"StreamId"}


class Time(float):
    """Seconds since 1970."""


def cbor(v):
    """A value as CBOR has it; times in milliseconds, tagged, as AWS's SDKs send them."""
    def head(major, n):
        if n < 24:
            return bytes([major << 5 | n])
        more, form = next((m, f) for m, f in ((24, ">B"), (25, ">H"), (26, ">I"), (27, ">Q")) if n < 1 << 8 * struct.calcsize(f))
        return bytes([major << 5 | more]) + struct.pack(form, n)

    if v is None:
        return b"\xf6"
    if isinstance(v, bool):
        return b"\xf5" if v else b"\xf4"
    if isinstance(v, Time):
        return head(6, 1) + cbor(int(v * 1000))
    if isinstance(v, int):
        return head(0, v) if v >= 0 else head(1, -1 - v)
    if isinstance(v, bytes):
        return head(2, len(v)) + v
    if isinstance(v, str):
        return head(3, len(v.encode())) + v.encode()
    if isinstance(v, list):
        return head(4, len(v)) + b"".join(map(cbor, v))
    return head(5, len(v)) + b"".join(cbor(k) + cbor(x) for k, x in v.items())


def from_cbor(body):
    reader = RpcV2CBORParser()
    return reader.parse_data_item(reader.get_peekable_stream_from_bytes(body))


def to_json(v):
    return json.dumps(v, default=lambda b: base64.b64encode(b).decode()).encode()


#: How each protocol writes a request and reads an answer.
PROTOCOLS = {"application/x-amz-json-1.1": (to_json, json.loads), "application/x-amz-cbor-1.1": (cbor, from_cbor)}


def good(name, seen=()):
    """The least value of a shape that violates nothing; `None` if there is none."""
    shape = SHAPES[name]
    kind = shape["type"]
    if name in seen:
        return None
    if name in GOOD:
        return GOOD[name]
    if "enum" in shape:
        return shape["enum"][0]
    if kind == "string":
        return "x" * max(1, shape.get("min", 1))
    if kind in ("integer", "long"):
        return max(1, shape.get("min", 1))
    if kind == "boolean":
        return False
    if kind == "timestamp":
        return Time(1.5)
    if kind == "blob":
        return b"x" * shape.get("min", 1)
    if kind == "list":
        return [good(shape["member"]["shape"], (*seen, name))] * max(1, shape.get("min", 0))
    if kind == "map":
        key, value = (good(shape[k]["shape"]) for k in ("key", "value"))
        return {key + str(i): value for i in range(max(1, shape.get("min", 0)))}
    return {m: good(shape["members"][m]["shape"], (*seen, name)) for m in (*shape.get("required", ()), *NEEDED.get(name, ()))}


def small(member):
    """A member's name as AWS writes it in paths."""
    return member[0].lower() + member[1:]


def bad(name, path):
    """(value, words of the error) for each way to violate a shape on its own."""
    shape = SHAPES[name]
    kind = shape["type"]
    lengths = "Member must have length"
    if kind == "string":
        if "min" in shape and shape["min"] > 0:
            yield "", f"at '{path}' failed to satisfy constraint: {lengths} greater than or equal to {shape['min']}"
        if "max" in shape and shape["max"] <= 1 << 20:
            yield good(name) + "1" * shape["max"], f"at '{path}' failed to satisfy constraint: {lengths} less than or equal to {shape['max']}"
        if "pattern" in shape:
            yield "\u00e9 !", f"at '{path}' failed to satisfy constraint: Member must satisfy regular expression pattern: "
        if "enum" in shape:
            yield "NO_SUCH_VALUE", f"'NO_SUCH_VALUE' at '{path}' failed to satisfy constraint: Member must satisfy enum value set: ["
        yield 1, "NUMBER_VALUE can not be converted to a String"
        yield [], "Start of list found where not expected"
        yield {}, "Start of structure or map found where not expected."
    elif kind in ("integer", "long"):
        for bound, step, words in (("min", -1, "greater"), ("max", 1, "less")):
            if bound in shape:
                yield shape[bound] + step, f"at '{path}' failed to satisfy constraint: Member must have value {words} than or equal to {shape[bound]}"
        yield "1", "STRING_VALUE can not be converted to an Integer"
        yield True, "TRUE_VALUE can not be converted to an Integer"
    elif kind == "boolean":
        yield "true", "STRING_VALUE can not be converted to a Boolean"
    elif kind == "blob":
        if "max" in shape and shape["max"] <= 1 << 20:
            yield bytes(shape["max"] + 1), f"at '{path}' failed to satisfy constraint: {lengths} less than or equal to {shape['max']}"
        yield "x", "can not be converted to a Blob"
    elif kind == "list":
        one = good(shape["member"]["shape"])
        if shape.get("min", 0) > 0:
            yield [], f"at '{path}' failed to satisfy constraint: {lengths} greater than or equal to {shape['min']}"
        if "max" in shape and shape["max"] <= 1000:
            yield [one] * (shape["max"] + 1), f"at '{path}' failed to satisfy constraint: {lengths} less than or equal to {shape['max']}"
        yield "x", "Expected list or null"
        yield {}, "Start of structure or map found where not expected."
    elif kind == "map":
        key, value = SHAPES[shape["key"]["shape"]], SHAPES[shape["value"]["shape"]]
        if shape.get("min", 0) > 0:
            yield {}, f"at '{path}' failed to satisfy constraint: {lengths} greater than or equal to {shape['min']}"
        if "max" in shape:
            yield {f"k{i}": "v" for i in range(shape["max"] + 1)}, f"at '{path}' failed to satisfy constraint: {lengths} less than or equal to {shape['max']}"
        yield {"k" * (key["max"] + 1): "v"}, f"at '{path}' failed to satisfy constraint: Map keys must satisfy constraint: ["
        yield {"k": "v" * (value["max"] + 1)}, f"at '{path}' failed to satisfy constraint: Map value must satisfy constraint: ["
        yield "x", "Expected map or null"
        yield [], "Start of list found where not expected"
    elif kind == "structure":
        yield [], "Start of list found where not expected"


def violations(name, path="", seen=()):
    """(what, change to a good structure, words) for all that a structure's model forbids."""
    shape = SHAPES[name]
    for member, of in shape.get("members", {}).items():
        if member in IGNORED or of["shape"] in seen:
            continue
        at = f"{path}{small(member)}"
        inner = SHAPES[of["shape"]]
        if member in shape.get("required", ()):
            yield f"{at} missing", lambda v, m=member: v.pop(m, None), f"Value null at '{at}' failed to satisfy constraint: Member must not be null"
        for value, words in bad(of["shape"], at):
            yield f"{at} = {str(value)[:40]}", lambda v, m=member, x=value: v.__setitem__(m, x), words
        if inner["type"] == "list":
            element = inner["member"]["shape"]
            if SHAPES[element]["type"] == "structure":
                for value, words in bad(element, at):
                    yield f"{at}[0] = {value}", lambda v, m=member, x=value: v.__setitem__(m, [x]), words
                for what, change, words in violations(element, f"{at}.1.member.", (*seen, name)):
                    yield what, lambda v, m=member, o=of["shape"], c=change: c(v.setdefault(m, good(o))[0]), words
            else:
                for value, words in bad(element, at):
                    if "regular expression" in words or "length" in words or "enum" in words:
                        yield f"{at}[0] = {str(value)[:40]}", lambda v, m=member, x=value: v.__setitem__(m, [x]), f"at '{at}' failed to satisfy constraint: Member must satisfy constraint: ["
        elif inner["type"] == "structure":
            for what, change, words in violations(of["shape"], f"{at}.", (*seen, name)):
                yield what, lambda v, m=member, o=of["shape"], c=change: c(v.setdefault(m, good(o))), words


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("constraints") / "data") as server, requests.Session() as http:
        signer = SigV4Auth(Credentials(server.key, server.secret), "kinesis", "us-east-1")

        def call(protocol, operation, value):
            write, read = PROTOCOLS[protocol]
            body = write(value)
            request = AWSRequest("POST", f"{server.url}/", data=body, headers={
                "Content-Type": protocol, "X-Amz-Target": f"{TARGET}.{operation}"})
            signer.add_auth(request)
            r = http.post(f"{server.url}/", data=body, headers=dict(request.headers.items()), timeout=20)
            try:
                told = read(r.content) if r.content else {}
            except ValueError:
                told = {}
            return r.status_code, told.get("__type"), told.get("message") or told.get("Message") or ""

        yield call
        server.stop()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_operation_is_there_but_those_of_queues_and_channels(call, protocol):
    assert ABSENT < MODEL["operations"].keys()
    absent = {o for o in MODEL["operations"] if call(protocol, o, {})[1] == "UnknownOperationException"}
    assert absent == ABSENT


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("operation", [o for o in THERE if "input" in MODEL["operations"][o]])
def test_each_constraint_of(call, operation, protocol):
    shape = MODEL["operations"][operation]["input"]["shape"]
    base = good(shape)
    status, code, words = call(protocol, operation, base)
    assert code not in ("ValidationException", "SerializationException") or "detected" not in words, f"{base}: {words}"
    wrong = []
    for what, change, words in violations(shape):
        value = copy.deepcopy(base)
        change(value)
        status, code, told = call(protocol, operation, value)
        valid = "failed to satisfy" in words
        wanted = "ValidationException" if valid else "SerializationException"
        # What is of another type is said in words of JSON.
        said = words in told if valid or "json" in protocol else bool(told)
        if (status, code) != (400, wanted) or not said:
            wrong.append(f"{what}: {status} {code}: {told[:200]}\n    wanted {wanted}: {words}")
    assert not wrong, f"{len(wrong)} of {operation}\n" + "\n".join(wrong)
