"""The TURN server: by Chromium where nothing but the relay may be used, by hand for what it must not do."""

import concurrent.futures
import hashlib
import hmac
import os
import re
import socket
import struct

import pytest
import requests

from support import signaling, webrtc
from support.media import ffmpeg_publisher, running
from support.server import run
from support.wait import wait_until
from test_kvs import client
from test_signaling import browser, client_of, context, over  # noqa: F401: fixtures
from test_usage import usage
from test_webrtc import live

RELAY = "window.rtcConfig = { iceTransportPolicy: 'relay' }"
#: What a page's connection goes through, by its own account.
PAIRS = """async () => {
  const out = [];
  const report = await window.pc.getStats();
  for (const s of report.values()) if (s.type === 'candidate-pair' && s.nominated) out.push([report.get(s.localCandidateId)?.candidateType, s.state]);
  return out;
}"""


@pytest.fixture
def relaying(serve):
    return lambda *flags: serve("relaying", "--tls-self-signed", "--set", "turn.listen=127.0.0.1:0", *flags)


def test_two_pages_by_the_relay_alone(relaying, context):  # noqa: F811
    server = relaying()
    video = client_of(server, verify=server.data / "self-signed.pem")
    arn = video.create_signaling_channel(ChannelName="door")["ChannelARN"]
    camera, watcher = signaling.page(context, server), signaling.page(context, server)
    camera.evaluate(RELAY)
    watcher.evaluate(RELAY)
    asked = signaling.where(server, arn, client_of, "MASTER")
    assert len(asked[1]) == 1 and asked[1][0]["urls"][0].startswith("turn:127.0.0.1:"), asked
    signaling.master(camera, server, asked)
    signaling.viewer(watcher, server, signaling.where(server, arn, client_of, "VIEWER"), "viewer-1")
    webrtc.decodes(watcher)
    assert ["relay", "succeeded"] in watcher.evaluate(PAIRS) and ["relay", "succeeded"] in camera.evaluate(PAIRS)
    # Whatever bundle the environment names.
    server.http.trust_env, server.http.verify = False, server.data / "self-signed.pem"
    assert server.metric("rushes_turn_relays") >= 2 and server.metric("rushes_turn_allocated_total") >= 2
    assert min(server.metric("rushes_turn_relayed_bytes_total", to=to) for to in ("peer", "client")) > 20_000
    assert [server.metric("rushes_signaling_connections", role=r) for r in ("master", "viewer", "storage")] == [1, 1, 0]
    # An offer, an answer, candidates: counted as they pass, and metered.
    passed = server.metric("rushes_signaling_messages_total")
    assert passed >= 4
    row = usage(server)[1]["door", None]
    assert row["kind"] == "signaling-channel" and row["used"].keys() == {"messages", "activeMonths"} and row["used"]["messages"] >= passed
    # However often who connects, in however many runs, a channel is active once in a month: this test may see two begin.
    assert row["used"]["activeMonths"] in (1, 2)
    # Each relay that something went through, for each minute that it did.
    minutes = usage(server)[1]["turn", None]
    assert minutes["kind"] == "turn-server" and minutes["used"].keys() == {"turnMinutes"} and 2 <= minutes["used"]["turnMinutes"] <= 20
    shown = run("usage", "--data", server.data).stdout
    assert "ACTIVE MONTHS" in shown and "RELAY" in shown, shown
    assert "CHANNEL" in run("usage", "--data", server.data).stdout


def test_who_was_told_of_the_relay_is_told_when_it_goes(serve):
    server = serve("relaying", "--set", "turn.listen=127.0.0.1:0")
    arn = client(server).create_signaling_channel(ChannelName="door")["ChannelARN"]
    ask = client(server, "kinesis-video-signaling").get_ice_server_config
    with concurrent.futures.ThreadPoolExecutor() as pool, signaling.connect(server, arn) as master, signaling.connect(server, arn, "v1") as one, signaling.connect(server, arn, "v2") as two:
        assert ask(ChannelARN=arn, ClientId="v1")["IceServerList"] and ask(ChannelARN=arn)["IceServerList"]
        stopping = pool.submit(server.stop)
        for told, notices in ((master, ["RECONNECT_ICE_SERVER", "GO_AWAY"]), (one, ["RECONNECT_ICE_SERVER", "GO_AWAY"]), (two, ["GO_AWAY"])):
            assert [signaling.told(told)["messageType"] for _ in notices] == notices
            assert over(told) == 1001
        stopping.result(60)


def test_a_master_that_asks_by_a_name_is_told_too(serve):
    """The SDK for C asks as `ProducerMaster` and connects without a name."""
    server = serve("relaying", "--set", "turn.listen=127.0.0.1:0")
    arn = client(server).create_signaling_channel(ChannelName="door")["ChannelARN"]
    other = client(server).create_signaling_channel(ChannelName="other")["ChannelARN"]
    ask = client(server, "kinesis-video-signaling").get_ice_server_config
    ask(ChannelARN=arn, ClientId="ProducerMaster")
    ask(ChannelARN=other, ClientId="v1")
    with concurrent.futures.ThreadPoolExecutor() as pool, signaling.connect(server, arn) as master, signaling.connect(server, other) as unasked, signaling.connect(server, other, "v1") as one:
        stopping = pool.submit(server.stop)
        for told, notices in ((master, ["RECONNECT_ICE_SERVER", "GO_AWAY"]), (unasked, ["GO_AWAY"]), (one, ["RECONNECT_ICE_SERVER", "GO_AWAY"])):
            assert [signaling.told(told)["messageType"] for _ in notices] == notices
            assert over(told) == 1001
        stopping.result(60)


def test_a_viewer_by_the_relay_alone(serve, clips, context):  # noqa: F811
    """The server's own port may always be relayed to; WHEP's answer says where the relay is."""
    server = serve("relaying", "--set", "turn.listen=127.0.0.1:0")
    with running(ffmpeg_publisher(clips(seconds=30), server.publish_url("yard"), loop=True)):
        live(server, "yard")
        page = webrtc.page(context, server)
        first = webrtc.watch(page, server, "yard", f"{server.key}:{server.secret}")
        requests.delete(server.url + first["location"], timeout=20).raise_for_status()
        uri, said = re.match("<(turn:[^>]+)>; (.*)", first["link"]).groups()
        link = dict(re.findall('([a-z-]+)="([^"]*)"', said))
        assert link["rel"] == "ice-server" and link["credential-type"] == "password", link
        ice = [{"urls": uri, "username": link["username"], "credential": link["credential"]}]
        page = webrtc.page(context, server)
        page.evaluate("(ice) => { window.rtcConfig = { iceServers: ice, iceTransportPolicy: 'relay' } }", ice)
        assert webrtc.watch(page, server, "yard", f"{server.key}:{server.secret}")["status"] == 201
        webrtc.decodes(page)
        assert ["relay", "succeeded"] in page.evaluate(PAIRS)


class Stun:
    """Requests by hand (RFC 8489 §5, RFC 8656), unsigned but where a user is said; sent again until answered (§6.2.1)."""

    def __init__(self, uri):
        self.to = ("127.0.0.1", int(uri.split(":")[2].split("?")[0]))
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(0.5)

    def ask(self, method, attributes=b""):
        transaction = os.urandom(12)
        for _ in range(40):
            self.socket.sendto(struct.pack("!HHI", method, len(attributes), 0x2112A442) + transaction + attributes, self.to)
            try:
                while (answer := self.socket.recv(2048))[8:20] != transaction:
                    pass  # an earlier one's
                return struct.unpack("!H", answer[:2])[0]
            except TimeoutError:
                continue
        raise AssertionError(f"a request of method {method:#06x} was sent 40 times and never answered")


def test_strangers(serve):
    server = serve("relaying", "--set", "turn.listen=127.0.0.1:0")
    arn = client(server).create_signaling_channel(ChannelName="c")["ChannelARN"]
    found = client(server, "kinesis-video-signaling").get_ice_server_config(ChannelARN=arn)["IceServerList"]
    assert len(found) == 1 and 30 <= found[0]["Ttl"] <= 86_400 and found[0]["Username"].endswith(":rushes")
    stun = Stun(found[0]["Uris"][0])
    assert stun.ask(0x0001) == 0x0101, "a binding request is answered"
    udp = struct.pack("!HHI", 0x0019, 4, 17 << 24)
    assert stun.ask(0x0003, udp) == 0x0113, "an allocation wants a user"
    for n in range(500):
        stun.socket.sendto(os.urandom(n % 300), stun.to)
    assert stun.ask(0x0001) == 0x0101


def test_what_goes_wrong_in_the_configuration(tmp_path):
    for setting, word in [("turn.peers=10.0.0.0/40", "turn.peers"), ("turn.listen=here", "turn.listen"), ("turn.allocations=0", "turn.allocations")]:
        r = run("serve", "--data", tmp_path / "d", "--set", setting)
        assert r.returncode and word in r.stderr, (setting, r.stderr)


class User(Stun):
    """One that the server knows."""

    def __init__(self, server):
        arn = client(server).create_signaling_channel(ChannelName="c")["ChannelARN"]
        found, = client(server, "kinesis-video-signaling").get_ice_server_config(ChannelARN=arn)["IceServerList"]
        super().__init__(found["Uris"][0])
        self.socket.settimeout(0.5)
        self.name, self.password, self.nonce = found["Username"], found["Password"], b""

    def signed(self, method, *attributes):
        """As RFC 8489 §9.2 has it: none, or the error's code."""
        all = [*attributes, (0x0006, self.name.encode()), (0x0014, b"rushes"), (0x0015, self.nonce)]
        body = b"".join(struct.pack("!HH", a, len(v)) + v + bytes(-len(v) % 4) for a, v in all)
        head = struct.pack("!HHI", method, len(body) + 24, 0x2112A442) + os.urandom(12)
        key = hashlib.md5(f"{self.name}:rushes:{self.password}".encode()).digest()
        found = self.answer(head + body + struct.pack("!HH", 0x0008, 20) + hmac.digest(key, head + body, "sha1"))
        self.nonce = found.get(0x0015, self.nonce)
        code = found.get(0x0009)
        return code and code[2] * 100 + code[3]

    def answer(self, request):
        """Its attributes by their types. Asked again until there is one."""
        for _ in range(40):
            self.socket.sendto(request, self.to)
            try:
                while (answer := self.socket.recv(2048))[8:20] != request[8:20]:
                    pass  # an earlier one's
            except TimeoutError:
                continue
            at, found = 20, {}
            while at < len(answer):
                kind, n = struct.unpack("!HH", answer[at:at + 4])
                found[kind] = answer[at + 4:at + 4 + n]
                at += 4 + (n + 3) // 4 * 4
            return found
        raise AssertionError("a request was never answered")


def peer(ip, port):
    """XOR-PEER-ADDRESS."""
    return 0x0012, struct.pack("!BBH4s", 0, 1, port ^ 0x2112, bytes(a ^ b for a, b in zip(socket.inet_aton(ip), b"\x21\x12\xa4\x42")))


def test_peers_that_are_not_on_the_internet_are_refused(serve):
    server = serve("relaying", "--set", "turn.listen=127.0.0.1:0", "--set", "turn.peers=10.1.0.0/16")
    user, udp = User(server), (0x0019, struct.pack("!I", 17 << 24))
    # The first time it is told a nonce.
    assert user.signed(0x0003, udp) in (401, 438) and user.nonce
    assert user.signed(0x0003, udp) is None
    assert server.metric("rushes_turn_relays") == server.metric("rushes_turn_allocated_total") == 1
    permission, channel, number = 0x0008, 0x0009, (0x000C, struct.pack("!HH", 0x4000, 0))
    assert user.signed(permission, peer("8.8.8.8", 1)) is None
    assert user.signed(permission, peer("10.1.2.3", 1)) is None
    assert user.signed(permission, peer("10.2.0.1", 1)) == user.signed(permission, peer("169.254.169.254", 80)) == 403
    assert user.signed(permission, peer("10.1.2.3", 1), peer("10.2.0.1", 1)) == 403
    # A permission is for all ports of an address: of the server's own one may be reached, a channel to another is refused.
    assert user.signed(permission, peer("127.0.0.1", 1)) is None
    assert user.signed(channel, number, peer("127.0.0.1", 1)) == 403
    assert user.signed(channel, number, peer("10.1.2.3", 9)) is None
    # Who does not prove to be somebody is told that.
    user.password = "guessed"
    assert user.signed(permission, peer("10.2.0.1", 1)) == 401
