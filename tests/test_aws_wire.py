"""AWS's protocols at the front: signatures, HTTP/1.1, h2c and h2, and what must never get further."""

import hashlib
import http.client
import json
import socket
import ssl
import subprocess
import time
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

JSON = "application/x-amz-json-1.1"
TARGET = "Kinesis_20131202"


def client(server, key=None, secret=None, region="us-east-1", **more):
    return boto3.client(
        "kinesis", endpoint_url=server.url, region_name=region,
        aws_access_key_id=key or server.key, aws_secret_access_key=secret or server.secret,
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=20), **more)


def code(call, *a, **k):
    """The error's code and words; (None, the answer) if there was none."""
    try:
        return None, call(*a, **k)
    except ClientError as e:
        return e.response["Error"]["Code"], e.response["Error"].get("Message", "")


def signed(server, operation, body, content_type=JSON, host=None):
    """A request's headers, signed by botocore."""
    body = body if isinstance(body, bytes) else body.encode()
    request = AWSRequest("POST", f"{server.url}/", data=body, headers={
        "Content-Type": content_type, "X-Amz-Target": f"{TARGET}.{operation}", "Host": host or urlsplit(server.url).netloc})
    SigV4Auth(Credentials(server.key, server.secret), "kinesis", "us-east-1").add_auth(request)
    return dict(request.headers.items()), body


def curl(*arguments, body=None):
    """(HTTP version, status, body)"""
    out = subprocess.run(["curl", "-sS", "-m", "20", "-o", "-", "-w", "\n%{http_version} %{http_code}", *arguments],
                         input=body, capture_output=True, timeout=30, check=True).stdout
    body, _, last = out.rpartition(b"\n")
    version, status = last.decode().split()
    return version, int(status), body


def curl_signed(server, operation, body, *flags):
    headers, body = signed(server, operation, body)
    return curl(*flags, "--data-binary", "@-", *(x for k, v in headers.items() for x in ("-H", f"{k}: {v}")),
                f"{server.url}/", body=body)


def raw(server, data, end=True, seconds=10):
    """What comes back for some bytes, until the other side closes."""
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), seconds) as s:
        out = b""
        try:
            s.sendall(data)
            if end:
                s.shutdown(socket.SHUT_WR)
            while chunk := s.recv(65536):
                out += chunk
        except OSError:
            pass
        return out


def alive(server):
    assert server.http.get(f"{server.url}/healthz", timeout=10).status_code == 200
    assert json.loads(curl_signed(server, "NoSuchOperation", "{}")[2])["__type"] == "UnknownOperationException"


@pytest.fixture
def operation(server):
    """One that is there, if any is yet."""
    if code(client(server).list_streams)[0] == "UnknownOperationException":
        pytest.skip("no operation yet")


def test_unknown_operations_in_each_protocol(server):
    version, status, body = curl_signed(server, "NoSuchOperation", "{}")
    assert (version, status, json.loads(body)) == ("1.1", 400, {"__type": "UnknownOperationException"})
    headers, body = signed(server, "NoSuchOperation", b"\xa0", "application/x-amz-cbor-1.1")
    r = server.http.post(f"{server.url}/", data=body, headers=headers, auth=lambda r: r)
    assert (r.status_code, r.headers["content-type"]) == (400, "application/x-amz-cbor-1.1")
    assert r.content == b"\xa1\x66__type\x78\x19UnknownOperationException"
    assert len(r.headers["x-amzn-requestid"]) == 36 and len(r.headers["x-amz-id-2"]) == 96 and r.headers["date"]
    headers["X-Amz-Target"] = "DynamoDB_20120810.ListTables"
    assert server.http.post(f"{server.url}/", data=body, headers=headers, auth=lambda r: r).status_code == 400


def test_signatures(server, operation):
    assert code(client(server).list_streams)[0] is None
    assert code(client(server, region="ap-southeast-2").list_streams)[0] is None
    assert code(client(server, secret="wrong").list_streams)[0] == "InvalidSignatureException"
    assert code(client(server, key="AKIAIOSFODNN7EXAMPLE").list_streams)[0] == "UnrecognizedClientException"
    assert code(client(server, aws_session_token="token").list_streams)[0] == "UnrecognizedClientException"
    headers, body = signed(server, "ListStreams", "{}")
    r = server.http.post(f"{server.url}/", data='{"Limit":1}', headers=headers, auth=lambda r: r)
    assert r.json()["__type"] == "InvalidSignatureException"
    del headers["Authorization"]
    r = server.http.post(f"{server.url}/", data=body, headers=headers, auth=lambda r: r)
    assert (r.status_code, r.json()) == (
        400, {"__type": "MissingAuthenticationTokenException", "message": "Missing Authentication Token"})


def test_presigned(server, operation):
    request = AWSRequest("POST", f"{server.url}/", data=b"{}", headers={
        "Content-Type": JSON, "X-Amz-Target": f"{TARGET}.ListStreams", "Host": urlsplit(server.url).netloc})

    class Presigner(SigV4QueryAuth):
        """With a body, which botocore presigns nothing with."""

        def payload(self, _):
            return hashlib.sha256(b"{}").hexdigest()

    Presigner(Credentials(server.key, server.secret), "kinesis", "us-east-1", expires=60).add_auth(request)
    headers = dict(request.headers.items())
    r = server.http.post(request.url, data=b"{}", headers=headers, auth=lambda r: r)
    assert (r.status_code, r.json().get("StreamNames")) == (200, [])
    r = server.http.post(request.url.replace("Expires=60", "Expires=61"), data=b"{}", headers=headers, auth=lambda r: r)
    assert r.json()["__type"] == "InvalidSignatureException"


def test_any_key_where_that_was_asked_for(serve):
    server = serve("open", "--set", "aws.auth=any")
    assert "aws.auth" in server.log.read_text()
    answer, _ = code(client(server, key="test", secret="test").list_streams)
    assert answer in (None, "UnknownOperationException")
    # Only there: everything else wants the key.
    assert server.http.get(f"{server.url}/v1/cameras", auth=("test", "test")).status_code == 401


def test_http2_in_the_clear(server):
    h2 = "--http2-prior-knowledge"
    version, status, body = curl_signed(server, "NoSuchOperation", "{}", h2)
    assert (version, status, json.loads(body)) == ("2", 400, {"__type": "UnknownOperationException"})
    # Everything else is there, too.
    assert curl(h2, f"{server.url}/healthz")[:2] == ("2", 200)
    assert curl(h2, f"{server.url}/")[:2] == ("2", 200)
    assert curl(h2, "-u", f"{server.key}:{server.secret}", f"{server.url}/v1/cameras")[:2] == ("2", 200)
    assert curl(f"{server.url}/")[:2] == ("1.1", 200)


def test_signatures_over_http2(server, operation):
    version, status, body = curl_signed(server, "ListStreams", "{}", "--http2-prior-knowledge")
    assert (version, status) == ("2", 200), body


def test_http2_under_tls(serve):
    server = serve("tls", "--tls-self-signed")
    version, status, _ = curl_signed(server, "NoSuchOperation", "{}", "-k", "--http2")
    assert (version, status) == ("2", 400)
    assert curl_signed(server, "NoSuchOperation", "{}", "-k", "--http1.1")[:2] == ("1.1", 400)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), 10) as s, context.wrap_socket(s, server_hostname="localhost") as t:
        assert t.selected_alpn_protocol() == "h2"


def test_a_client_that_waits_to_be_asked_for_the_body(server):
    where = urlsplit(server.url)
    headers, body = signed(server, "NoSuchOperation", "{}")
    with socket.create_connection((where.hostname, where.port), 10) as s:
        lines = "".join(f"{k}: {v}\r\n" for k, v in headers.items() if k.lower() != "content-length")
        s.sendall(f"POST / HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n".encode())
        assert s.recv(4096).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        s.sendall(body)
        assert s.recv(65536).startswith(b"HTTP/1.1 400")


def test_what_is_not_a_request(server):
    host = f"Host: {urlsplit(server.url).netloc}\r\n".encode()
    post = b"POST / HTTP/1.1\r\n" + host + b"X-Amz-Target: Kinesis_20131202.PutRecord\r\nContent-Type: application/x-amz-json-1.1\r\n"
    for data, statuses in [
        (b"\0" * 5000, {b"400", b""}),
        (bytes(range(256)) * 40, {b"400", b""}),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 1000, None),
        (b"GET / HTTP/1.1\r\n" + host + b"x: y\r\n" * 1000 + b"\r\n", {b"431", b"400"}),
        (b"GET / HTTP/1.1\r\n" + host + b"x: " + b"y" * 1_000_000 + b"\r\n\r\n", {b"431", b"400", b""}),
        (post + b"Content-Length: 99999999999999999999\r\n\r\n", {b"400"}),
        (post + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}", {b"400", b""}),
        (post + b"Content-Length: 1000\r\n\r\n{}", {b"400", b""}),
        (post + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n5", {b"400", b""}),
        (post + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}", {b"400", b""}),
        (post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", {b"400", b""}),
        (post + b"Content-Length: 5\r\n\r\n\xff\xfe\xfd\xfc\xfb", {b"400"}),
    ]:
        answer = raw(server, data)
        if statuses is not None:
            assert answer[9:12] in statuses, (data[:80], answer[:200])
    alive(server)


def test_a_body_larger_than_any(server):
    """The answer is read although the body was not wanted."""
    where = urlsplit(server.url)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=20)
    headers, _ = signed(server, "NoSuchOperation", "{}")
    began = time.monotonic()
    connection.request("POST", "/", body=b" " * (20 << 20), headers={**headers, "Content-Length": str(20 << 20)})
    assert connection.getresponse().status in (400, 413)
    assert time.monotonic() - began < 15
    alive(server)
