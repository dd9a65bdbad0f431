"""A producer of PutMedia that we did not write with the server's code: a raw socket, signatures by botocore, and Matroska in the
byte shapes that AWS's producer SDKs send (Segment and Clusters of unknown size, sizes of eight bytes)."""

import json
import select
import socket
import time
import urllib.parse

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#: What stands for the body in what is signed, and whether a header says so: the C SDK, Java's, others.
HABITS = {"c": (EMPTY, False), "java": ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", True), "unsigned": ("UNSIGNED-PAYLOAD", True),
          "java-silent": ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", False)}


# ---- Matroska

def size(n, width=8):
    return (n | 1 << 7 * width).to_bytes(width, "big")


def element(identifier, content, width=8):
    return bytes.fromhex(identifier) + size(len(content), width) + content


def number(n):
    return n.to_bytes(max(1, (n.bit_length() + 7) // 8), "big")


UNKNOWN = b"\xff"
VIDEO = ("V_MPEG4/ISO/AVC", 1)
AUDIO = ("A_AAC", 2)


def track(n, codec="V_MPEG4/ISO/AVC", kind=1, private=b"", **more):
    content = element("d7", number(n), 1) + element("73c5", number(n)) + element("83", number(kind), 1) + element("86", codec.encode())
    if private:
        content += element("63a2", private)
    if kind == 1:
        content += element("e0", element("b0", number(more.get("width", 320)), 1) + element("ba", number(more.get("height", 240)), 1))
    else:
        content += element("e1", element("b5", b"\x40\xe7\x70\x00\x00\x00\x00\x00", 1) + element("9f", number(more.get("channels", 1)), 1))
    return element("ae", content)


def header(*tracks):
    """What the C SDK sends first: an EBML header, a Segment of unknown size, Info and Tracks."""
    ebml = element("1a45dfa3", element("4286", b"\1", 1) + element("42f7", b"\1", 1) + element("42f2", b"\4", 1) + element("42f3", b"\x08", 1)
                   + element("4282", b"matroska", 1) + element("4287", b"\2", 1) + element("4285", b"\2", 1))
    info = element("1549a966", element("73a4", b"\0" * 16, 1) + element("2ad7b1", number(1_000_000), 1)
                   + element("4d80", b"a test", 1) + element("5741", b"a test", 1))
    return ebml + bytes.fromhex("18538067") + UNKNOWN + info + element("1654ae6b", b"".join(tracks or [track(1, private=AVCC)]))


def block(n, offset, data, key):
    return element("a3", bytes([0x80 | n]) + offset.to_bytes(2, "big", signed=True) + (b"\x80" if key else b"\0") + data)


def cluster(timecode, frames, known=False):
    """`frames`: (track, milliseconds after the Cluster, bytes, key)."""
    content = element("e7", timecode.to_bytes(8, "big"), 1) + element("a7", b"\0", 1)
    content += b"".join(block(*f) for f in frames)
    return bytes.fromhex("1f43b675") + (size(len(content)) if known else UNKNOWN) + content


def tags(**named):
    simple = b"".join(element("67c8", element("45a3", k.encode()) + element("4487", v.encode())) for k, v in named.items())
    return element("1254c367", element("7373", simple))


END_OF_FRAGMENT = tags(AWS_KINESISVIDEO_END_OF_FRAGMENT="")

#: A configuration record of H.264, 320×240 baseline: what `avc` units belong to.
SPS = bytes.fromhex("6742c00dd9014141fb016a0202028000000300800000190783054cb0")
PPS = bytes.fromhex("68cb83cb20")
AVCC = b"\1" + SPS[1:4] + b"\xff\xe1" + len(SPS).to_bytes(2, "big") + SPS + b"\1" + len(PPS).to_bytes(2, "big") + PPS


def avc(key, fill, length=400):
    """An access unit that says what it is, and is no picture."""
    nal = (b"\x65\x88" if key else b"\x41\x9a") + bytes([fill & 0x7f | 1]) * length
    return len(nal).to_bytes(4, "big") + nal


def fragment(timecode, frames=10, seed=0, every=100, n=1, length=400):
    return cluster(timecode, [(n, i * every, avc(i == 0, seed + i, length), i == 0) for i in range(frames)])


# ---- the connection

class PutMedia:
    """One connection. Send with `send`; acknowledgements are read as they come."""

    def __init__(self, server, stream, timecodes="ABSOLUTE", start=None, habit="c", acks="1", secret=None, headers=None):
        url = urllib.parse.urlparse(server.url)
        digest, said = HABITS[habit]
        h = {"host": url.netloc, "x-amzn-stream-name": stream, "x-amzn-fragment-timecode-type": timecodes,
             "x-amzn-fragment-acknowledgment-required": acks, **(headers or {})}
        if start is not None:
            h["x-amzn-producer-start-timestamp"] = start
        if said:
            h["X-Amz-Content-SHA256"] = digest
        h = {k: v for k, v in h.items() if v is not None}
        request = AWSRequest("POST", server.url + "/putMedia", headers=h)

        class Auth(SigV4Auth):
            def payload(self, request):
                return digest

        Auth(Credentials(server.key, secret or server.secret), "kinesisvideo", "us-east-1").add_auth(request)
        head = "POST /putMedia HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in request.headers.items())
        self.socket = socket.create_connection((url.hostname, url.port), timeout=30)
        self.socket.sendall((head + "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n").encode())
        self.acks, self._in, self._lines, self.status, self.over = [], b"", b"", None, False

    def send(self, data, step=None):
        for i in range(0, len(data), step or len(data) or 1):
            piece = data[i:i + (step or len(data))]
            self.socket.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        return self

    def over_with(self):
        """Ends the body."""
        self.socket.sendall(b"0\r\n\r\n")

    def finish(self, seconds=30):
        """Ends the body and reads all that is answered."""
        self.over_with()
        return self.rest(seconds)

    def rest(self, seconds=30):
        self.until(lambda: self.over, seconds)
        self.socket.close()
        return self.acks

    def until(self, done, seconds=30):
        """Reads until it holds, or the answer is over."""
        end = time.monotonic() + seconds
        while not done():
            assert not self.over, f"the answer ended: {self.status} {self.acks}"
            left = end - time.monotonic()
            assert left > 0, f"nothing more within {seconds} s: {self.status} {self.acks}"
            if select.select([self.socket], [], [], left)[0]:
                self._read()
        return self

    def of(self, kind):
        return [a for a in self.acks if a["EventType"] == kind]

    def wait(self, kind, count=1, seconds=30):
        return self.until(lambda: len(self.of(kind)) >= count, seconds).of(kind)

    def answered(self, seconds=30):
        """The status, and the head's fields."""
        self.until(lambda: self.status, seconds)
        return self.status

    def _read(self):
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            self.over = True
            return
        self._in += data
        if self.status is None:
            head, found, rest = self._in.partition(b"\r\n\r\n")
            if not found:
                return
            first, *fields = head.decode().split("\r\n")
            self.headers = {k.lower(): v for k, _, v in (f.partition(": ") for f in fields)}
            self.status, self._in = int(first.split()[1]), rest
        if self.headers.get("transfer-encoding") != "chunked":
            wanted = int(self.headers.get("content-length", 0))
            if len(self._in) >= wanted:
                self.body, self.over = self._in[:wanted], True
            return
        while True:
            length, found, rest = self._in.partition(b"\r\n")
            if not found or len(rest) < (n := int(length, 16)) + 2:
                return
            self._in = rest[n + 2:]
            if n == 0:
                self.over = True
                return
            self._lines += rest[:n]
            *lines, self._lines = self._lines.split(b"\n")
            self.acks += [json.loads(line) for line in lines]
