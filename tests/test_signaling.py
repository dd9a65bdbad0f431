"""Kinesis Video's signaling channels: boto3, a WebSocket client, and the JavaScript SDK's two roles in Chromium."""

import base64
import concurrent.futures
import contextlib
import json
import time

import boto3
import pytest
from botocore.config import Config
from websockets.exceptions import ConnectionClosed, InvalidStatus

from support import signaling, webrtc
from support.browser import FLAGS
from support.signaling import connect, encoded, message, told
from support.wait import wait_until
from test_kvs import client, refused
from test_slow_clients import resident
from test_webrtc import CAMERA


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path="/usr/bin/chromium", args=[*FLAGS, *CAMERA])
        yield browser
        browser.close()


@pytest.fixture
def context(browser):
    context = browser.new_context(ignore_https_errors=True)
    yield context
    context.close()


@pytest.fixture
def channel(server):
    """A channel's ARN."""
    return client(server).create_signaling_channel(ChannelName="door", SingleMasterConfiguration={"MessageTtlSeconds": 60})["ChannelARN"]


def refused_to_connect(server, *who, **how):
    with pytest.raises(InvalidStatus) as e:
        connect(server, *who, **how)
    r = e.value.response
    return r.status_code, r.headers["x-amzn-ErrorType"]


def over(socket):
    """Why it ended, once what was still to be told is read."""
    with pytest.raises(ConnectionClosed) as e:
        while True:
            socket.recv(timeout=20)
    return e.value.rcvd.code if e.value.rcvd else None


def test_messages_between_a_master_and_its_viewers(server, channel):
    with connect(server, channel) as master, connect(server, channel, "v1") as one, connect(server, channel, "v2") as two:
        one.send(message("SDP_OFFER", {"sdp": "o1"}))
        assert told(master) == {"messageType": "SDP_OFFER", "messagePayload": {"sdp": "o1"}, "senderClientId": "v1"}
        two.send(message("ICE_CANDIDATE", {"candidate": "c"}, to="v1"))
        assert told(master) == {"messageType": "ICE_CANDIDATE", "messagePayload": {"candidate": "c"}, "senderClientId": "v2"}
        master.send(message("SDP_ANSWER", {"sdp": "a1"}, to="v1", correlation="7"))
        # The C SDK's habits.
        master.send(json.dumps({"action": "ICE_CANDIDATE", "RecipientClientId": "v2", "MessagePayload": encoded({"candidate": "m"}), "CorrelationId": "8"}))
        answer = told(one)
        assert (answer["messageType"], answer["messagePayload"]) == ("SDP_ANSWER", {"sdp": "a1"}), answer
        assert told(two)["messagePayload"] == {"candidate": "m"}


def test_a_master_that_comes_later_and_one_that_is_replaced(server, channel):
    with connect(server, channel, "v") as viewer:
        viewer.send(message("SDP_OFFER", {"sdp": "first"}))
        viewer.send(message("SDP_OFFER", {"sdp": "second"}))
        viewer.send(message("ICE_CANDIDATE", {"candidate": "c"}))
        # It has been taken in when what comes after it is answered.
        viewer.send(message("NONSENSE", {}, correlation="end"))
        assert told(viewer)["statusResponse"]["correlationId"] == "end"
        with connect(server, channel) as first:
            assert told(first)["messagePayload"] == {"sdp": "second"}
            assert told(first)["messagePayload"] == {"candidate": "c"}
            with connect(server, channel) as second:
                assert told(first) == {"messageType": "GO_AWAY"}
                assert over(first) == 1000
                viewer.send(message("SDP_OFFER", {"sdp": "third"}))
                assert told(second)["messagePayload"] == {"sdp": "third"}


def test_who_may_not_connect(serve, channel, server):
    video = client(server)
    assert refused_to_connect(server, channel, secret="x" * 40) == (403, "InvalidSignatureException")
    assert refused_to_connect(server, channel.replace("door", "none")) == (404, "ResourceNotFoundException")
    assert refused_to_connect(server, "arn:x") == (400, "InvalidArgumentException")
    assert refused_to_connect(server, channel, "not a name") == (400, "InvalidArgumentException")
    video.delete_signaling_channel(ChannelARN=channel)
    assert refused_to_connect(server, channel)[0] == 404
    # The console's page is still where it was.
    assert server.request("GET", "/").status_code == 200


def test_bad_messages_hurt_nobody_else(server, channel):
    with connect(server, channel) as master, connect(server, channel, "good") as good, connect(server, channel, "bad") as bad:
        for text, word in [
            (json.dumps({"action": "SDP_OFFER", "correlationId": "c"}), "messagePayload"),
            (json.dumps({"action": "SDP_OFFER", "messagePayload": "!!", "correlationId": "c"}), "base64"),
            (message("SDP_OFFER", {"sdp": "x" * 20_000}, correlation="c"), "most"),
            (message("DANCE", {}, correlation="c"), "action"),
        ]:
            bad.send(text)
            status = told(bad)
            assert status["messageType"] == "STATUS_RESPONSE", status
            said = status["statusResponse"]
            assert (said["correlationId"], said["errorType"], said["statusCode"]) == ("c", "InvalidArgumentException", "400")
            assert word in said["description"]
        bad.send("no JSON")
        master.send(message("SDP_ANSWER", {}, correlation="nobody"))
        assert "recipientClientId" in told(master)["statusResponse"]["description"]
        bad.send(message("SDP_OFFER", {"sdp": "x" * 1_000_000}))
        assert over(bad) == 1009
        with connect(server, channel, "bytes") as bytes_:
            bytes_.send(b"\x00\x01")
            assert over(bytes_) == 1003
        good.send(message("SDP_OFFER", {"sdp": "still here"}))
        assert told(master)["messagePayload"] == {"sdp": "still here"}


def test_messages_that_do_not_end_fill_no_memory(serve):
    server = serve("unended", "--set", "video.limits=off")
    channel = client(server).create_signaling_channel(ChannelName="c")["ChannelARN"]
    before, begun = resident(server), time.monotonic()
    unended = [connect(server, channel, f"u{n}") for n in range(150)]
    try:
        for u in unended:
            # Two megabytes are announced, and as much of it as there is room for is there to be read.
            u.socket.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                u.socket.send(b"\x81\xff" + (2 << 20).to_bytes(8) + bytes(4) + b"x" * ((2 << 20) - 1000))
        with connect(server, channel) as master, connect(server, channel, "good") as good:
            while time.monotonic() - begun < 3:
                good.send(message("SDP_OFFER", {"sdp": "still here"}))
                assert told(master)["messagePayload"] == {"sdp": "still here"}
            assert resident(server) - before < 120 << 20
            # Nor do they keep others with large messages waiting for ever: these go on once the first are seen off.
            good.send(message("SDP_OFFER", {"sdp": "x" * 60_000}))
            assert told(master, seconds=40)["messagePayload"] == {"sdp": "x" * 60_000}
    finally:
        for u in unended:
            # Without a word: the server may wait for more.
            u.socket.close()


def test_limits(server, channel):
    with connect(server, channel, "v") as viewer, connect(server, channel) as master:
        for n in range(40):
            viewer.send(message("ICE_CANDIDATE", {"n": n}, correlation=str(n)))
        viewer.send(message("NONSENSE", {}, correlation="end"))
        refused = []
        while (status := told(viewer)["statusResponse"])["correlationId"] != "end":
            assert status["errorType"] == "ClientLimitExceededException", status
            refused.append(int(status["correlationId"]))
        assert refused and 0 not in refused
        passed = [told(master)["messagePayload"]["n"] for _ in range(40 - len(refused))]
        assert sorted(passed + refused) == list(range(40))


def test_ten_viewers(serve):
    server = serve("ten")
    channel = client(server).create_signaling_channel(ChannelName="c")["ChannelARN"]
    with contextlib.ExitStack() as sockets:
        for n in range(10):
            # Three a second may come.
            def comes(name=f"v{n}"):
                try:
                    return sockets.enter_context(connect(server, channel, name))
                except InvalidStatus as e:
                    assert (e.response.status_code, e.response.headers["x-amzn-ErrorType"]) == (400, "ClientLimitExceededException")
                    return None

            wait_until("a viewer may come", comes)

        def full():
            with pytest.raises(InvalidStatus) as e:
                sockets.enter_context(connect(server, channel, "one-more"))
            return b"10 viewers" in e.value.response.body

        wait_until("it is told that there are ten", full)


def test_an_offer_from_alexa(server, channel):
    signaling_client = client(server, "kinesis-video-signaling")
    offer = encoded({"type": "offer", "sdp": "alexa"})
    with concurrent.futures.ThreadPoolExecutor() as pool:
        asking = pool.submit(signaling_client.send_alexa_offer_to_master, ChannelARN=channel, SenderClientId="echo", MessagePayload=offer)
        # Also to a master that comes after it.
        with connect(server, channel) as master:
            got = told(master)
            assert (got["messageType"], got["senderClientId"], got["messagePayload"]["sdp"]) == ("SDP_OFFER", "echo", "alexa")
            master.send(message("SDP_ANSWER", {"type": "answer", "sdp": "mine"}, to="echo"))
            assert json.loads(base64.b64decode(asking.result(30)["Answer"])) == {"type": "answer", "sdp": "mine"}
    short = client(server).create_signaling_channel(ChannelName="short", SingleMasterConfiguration={"MessageTtlSeconds": 5})["ChannelARN"]
    none = refused(signaling_client.send_alexa_offer_to_master, ChannelARN=short, SenderClientId="echo", MessagePayload=offer)
    assert none[:2] == ("ResourceNotFoundException", 404)


def test_ice_servers(server, channel):
    signaling_client = client(server, "kinesis-video-signaling")
    assert signaling_client.get_ice_server_config(ChannelARN=channel, ClientId="v", Service="TURN")["IceServerList"] == []
    assert refused(signaling_client.get_ice_server_config, ChannelARN=channel.replace("door", "none"))[:2] == ("ResourceNotFoundException", 404)
    loose = boto3.client("kinesis-video-signaling", endpoint_url=server.url, region_name="us-east-1", aws_access_key_id=server.key,
                         aws_secret_access_key=server.secret, config=Config(retries={"total_max_attempts": 1}, parameter_validation=False))
    assert refused(loose.get_ice_server_config, ChannelARN=channel, Service="STUN")[:2] == ("InvalidArgumentException", 400)
    assert refused(loose.get_ice_server_config)[:2] == ("InvalidArgumentException", 400)


def test_the_server_says_goodbye(serve):
    server = serve("bye")
    channel = client(server).create_signaling_channel(ChannelName="c")["ChannelARN"]
    with concurrent.futures.ThreadPoolExecutor() as pool, connect(server, channel) as master:
        stopping = pool.submit(server.stop)
        assert told(master) == {"messageType": "GO_AWAY"}
        assert over(master) == 1001
        stopping.result(60)


def test_two_pages_see_each_other(serve, context):
    """The SDK for JavaScript as master, with the browser's camera, and as viewer; media go from page to page."""
    server = serve("tls", "--tls-self-signed")
    video = client_of(server, verify=server.data / "self-signed.pem")
    arn = video.create_signaling_channel(ChannelName="door")["ChannelARN"]
    camera, watcher = signaling.page(context, server), signaling.page(context, server)
    signaling.master(camera, server, signaling.where(server, arn, client_of, "MASTER"))
    signaling.viewer(watcher, server, signaling.where(server, arn, client_of, "VIEWER"), "viewer-1")
    webrtc.decodes(watcher)
    wait_until("there is sound", lambda: webrtc.stats(watcher)["sound"] > 20)
    assert signaling.log(watcher) == [] and signaling.log(camera) == ["offer"]


def client_of(server, service="kinesisvideo", endpoint=None, verify=None):
    return boto3.client(service, endpoint_url=endpoint or server.url, region_name="us-east-1", aws_access_key_id=server.key,
                        aws_secret_access_key=server.secret, verify=str(verify), config=Config(retries={"total_max_attempts": 1}))
