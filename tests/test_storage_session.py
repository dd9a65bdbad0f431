"""WebRTC in, fragments out: the JavaScript SDK's master in Chromium, whose media the server stores, and a viewer of them."""

import array
import contextlib
import json
import math
import os
import pathlib
import re
import signal

import pytest
import requests

from support import media, signaling, webrtc
from support.signaling import connect, message, told
from support.wait import wait_until
from test_kvs import client, refused
from test_signaling import browser, client_of, context  # noqa: F401: fixtures


def storing(server, of=client, stream="recordings", **how):
    """A channel whose media are stored: its ARN."""
    video = of(server, **how)
    stream_arn = video.create_stream(StreamName=stream, DataRetentionInHours=1)["StreamARN"]
    arn = video.create_signaling_channel(ChannelName="door")["ChannelARN"]
    video.update_media_storage_configuration(ChannelARN=arn, MediaStorageConfiguration={"StreamARN": stream_arn, "Status": "ENABLED"})
    return arn


def recording(serve, context, *flags, says=True):  # noqa: F811
    """A page that is the master of a storage session: the server, the channel's ARN, the page, a client to join by."""
    server = serve("tls", "--tls-self-signed", *flags)
    verify = server.data / "self-signed.pem"
    server.http.verify, server.http.trust_env = str(verify), False
    arn = storing(server, client_of, verify=verify)
    camera = signaling.page(context, server)
    found = signaling.where(server, arn, client_of, "MASTER")
    signaling.master(camera, server, found, says=says)
    storage = client_of(server, "kinesis-video-webrtc-storage", endpoint=found[0]["WEBRTC"], verify=verify)
    storage.join_storage_session(channelArn=arn)
    return server, arn, camera, storage


def test_what_a_page_sends_is_stored_and_played(serve, context):  # noqa: F811
    server, arn, camera, storage = recording(serve, context)
    verify = server.data / "self-signed.pem"
    signaling.has(camera, "offer", "the server offers")
    archived = client_of(server, "kinesis-video-archived-media", verify=verify)
    fragments = lambda: archived.list_fragments(StreamName="recordings")["Fragments"]
    wait_until("there are fragments", lambda: len(fragments()) >= 3)
    tracks = server.call("GET", "/v1/streams/recordings")["tracks"]
    assert sorted(t["codecName"] for t in tracks) == ["H.264", "Opus"], tracks

    # A viewer sees what is stored, as it comes.
    watcher = signaling.page(context, server)
    signaling.viewer(watcher, server, signaling.where(server, arn, client_of, "VIEWER"), "viewer-1", offers=False)
    storage.join_storage_session_as_viewer(channelArn=arn, clientId="viewer-1")
    seen = webrtc.decodes(watcher)
    assert seen["codec"] == "video/H264" and server.metric("rushes_webrtc_sessions", way="out") == 1

    # Joining again begins anew.
    storage.join_storage_session(channelArn=arn)
    wait_until("the server offers again", lambda: signaling.log(camera).count("offer") == 2)
    before = len(fragments())
    wait_until("it goes on", lambda: len(fragments()) >= before + 2)
    wait_until("there is one publisher", lambda: server.metric("rushes_webrtc_sessions", way="in") == 1)
    camera.evaluate("window.peers.forEach((p) => p.close())")
    wait_until("it is over", lambda: server.metric("rushes_webrtc_sessions", way="in") == 0)
    # It is metered as all that is stored, and what the viewer was sent as all that is watched.
    assert server.metric("rushes_video_put_bytes_total", stream="recordings") == sum(f["FragmentSizeInBytes"] for f in fragments())
    assert server.metric("rushes_video_get_bytes_total", stream="recordings") > 10_000

    # FFmpeg decodes every frame of it.
    stored = sorted(fragments(), key=lambda f: f["ProducerTimestamp"])
    span = {"StartTimestamp": stored[0]["ProducerTimestamp"], "EndTimestamp": stored[-1]["ProducerTimestamp"]}
    clip = archived.get_clip(StreamName="recordings", ClipFragmentSelector={"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": span})
    file = server.data.parent / "clip.mp4"
    file.write_bytes(clip["Payload"].read())
    assert media.packets(file) > 60 and media.packets(file, "a") > 60
    media.ffmpeg("-xerror", "-err_detect", "explode", "-i", file, "-map", "0:v", "-f", "null", "-")
    selector = {"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": span}
    # As Opus, which it is, or as AAC, which is all that transport streams have.
    for container, sound in [("FRAGMENTED_MP4", "opus"), ("MPEG_TS", "mp4a.40.2")]:
        hls = archived.get_hls_streaming_session_url(
            StreamName="recordings", PlaybackMode="ON_DEMAND", HLSFragmentSelector=selector, ContainerFormat=container)["HLSStreamingSessionURL"]
        master = requests.get(hls, verify=str(verify), timeout=20).text
        assert "avc1" in master and sound in master.lower() and "left out" not in master, master


#: What a page hears of its peer: packets, and how loud it was so far.
HEARS = """async () => {
  for (const s of (await window.pc.getStats()).values()) if (s.type === 'inbound-rtp' && s.kind === 'audio') return [s.packetsReceived, s.totalAudioEnergy];
  return [0, 0];
}"""
#: Says something, or nothing: silence is sent, too.
SAYS = "(aloud) => window.said.getTracks().forEach((t) => { t.enabled = aloud; })"


def test_what_viewers_say_is_heard_by_the_master(serve, context):  # noqa: F811
    server, arn, camera, storage = recording(serve, context)
    wait_until("it is recorded", lambda: server.fragments("recordings"))
    viewers = {name: signaling.page(context, server) for name in ("one", "two", "mute")}
    for name, page in viewers.items():
        signaling.viewer(page, server, signaling.where(server, arn, client_of, "VIEWER"), name, offers=False, speaks=name != "mute")
        if name != "mute":
            page.evaluate(SAYS, False)
        storage.join_storage_session_as_viewer(channelArn=arn, clientId=name)
        webrtc.decodes(page, 10)
        # Each of them hears the master, whether or not it says anything.
        wait_until("sound comes", lambda: page.evaluate(HEARS)[0] > 50)

    # Silence is heard of one; who speaks is heard instead, be it the other.
    packets, energy = wait_until("there is silence", lambda: (h := camera.evaluate(HEARS))[0] > 50 and h)
    assert energy < 1e-6, "nobody has said anything"
    for name in ("two", "one", "two"):
        before = camera.evaluate(HEARS)
        viewers[name].evaluate(SAYS, True)
        packets, energy = wait_until(f"{name} is heard", lambda: (h := camera.evaluate(HEARS))[1] > before[1] + 0.001 and h)
        assert packets > before[0]
        viewers[name].evaluate(SAYS, False)
    # What is stored is the master's: one picture, one sound.
    assert sorted(t["codecName"] for t in server.call("GET", "/v1/streams/recordings")["tracks"]) == ["H.264", "Opus"]

    # It goes on when the master joins again, and with whoever is left.
    viewers["one"].evaluate("window.pc.close()")
    viewers["two"].evaluate(SAYS, True)
    storage.join_storage_session(channelArn=arn)
    wait_until("the server offers again", lambda: signaling.log(camera).count("offer") == 2)
    wait_until("two is heard again", lambda: camera.evaluate(HEARS)[1] > 0.001)


#: What is said, in hertz: by the master and two viewers.
TONES = {"master": 400, "one": 900, "two": 1600}


def hears(page):
    """Whose tones a page hears now."""
    loud = page.evaluate("(all) => window.tones(all)", list(TONES.values()))
    return {who for who, db in zip(TONES, loud) if db is not None and db > -50}


def workers(server):
    """The processes that decode for a server."""
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            if parent == server.process.pid and b"frames-worker" in (stat.parent / "cmdline").read_bytes():
                found.append(int(stat.parent.name))
    return found


def loud(samples, hz, rate=48_000):
    """A tone's amplitude (Goertzel)."""
    k = 2 * math.cos(2 * math.pi * hz / rate)
    a = b = 0.0
    for s in samples:
        a, b = s + k * a - b, a
    return 2 * math.sqrt(max(a * a + b * b - k * a * b, 0.0)) / len(samples)


def stored_tones(file):
    """Whose tones are in a file's sound, each quarter of a second."""
    samples = array.array("h", media.ffmpeg("-i", file, "-map", "0:a:0", "-ac", "1", "-ar", "48000", "-f", "s16le", "pipe:1"))
    steps = [samples[n : n + 4800] for n in range(0, len(samples) - 4800, 12_000)]
    return [{who for who, hz in TONES.items() if loud(step, hz) > 800} for step in steps]


def talking(serve, context, *flags, says=TONES["master"], aloud=False):  # noqa: F811
    """A master and three viewers, two of whom say something, if aloud: the server, and their pages."""
    server, arn, camera, storage = recording(serve, context, *flags, says=says)
    wait_until("it is recorded", lambda: server.fragments("recordings"))
    pages = {name: signaling.page(context, server) for name in ("one", "two", "mute")}
    for name, page in pages.items():
        signaling.viewer(page, server, signaling.where(server, arn, client_of, "VIEWER"), name, offers=False, speaks=TONES.get(name))
        page.evaluate(SAYS, aloud)
        storage.join_storage_session_as_viewer(channelArn=arn, clientId=name)
        webrtc.decodes(page, 10)
    return server, {**pages, "master": camera}


def test_viewers_hear_each_other_and_all_is_stored(serve, context):  # noqa: F811
    server, pages = talking(serve, context)
    camera = pages["master"]

    def heard(**wanted):
        """Waits until each page hears what it should; the rest hear the master."""
        for name, page in pages.items():
            whose = set(wanted.get(name, "" if name == "master" else "master").split())
            wait_until(f"{name} hears {whose}", lambda: hears(page) == whose)

    mixed = lambda: server.metric("rushes_frames_mixed_total")
    def goes_on():
        """A hundred packets more are mixed."""
        enough = mixed() + 100
        wait_until("it goes on", lambda: mixed() >= enough)

    heard()
    assert mixed() == 0 and not workers(server), "while nobody speaks nothing is decoded"
    # One alone.
    pages["one"].evaluate(SAYS, True)
    heard(master="one", two="master one", mute="master one")
    goes_on()
    # Both.
    pages["two"].evaluate(SAYS, True)
    both = dict(master="one two", one="master two", two="master one", mute="master one two")
    heard(**both)
    goes_on()
    heard(**both)
    # The mixer dies: all goes on without it, until there is another.
    [worker] = workers(server)
    os.kill(worker, signal.SIGKILL)
    wait_until("it is as if nobody mixed", lambda: len(hears(camera)) == 1 and hears(pages["mute"]) == {"master"})
    heard(**both)
    # Silence: nothing is mixed any more.
    for name in ("one", "two"):
        pages[name].evaluate(SAYS, False)
    heard()
    counts = [None]
    wait_until("nothing is mixed any more", lambda: counts.append(mixed()) or counts[-1] == counts[-2], every=1)
    heard()
    assert mixed() == counts[-1]

    # What is stored: all of that, in packets of 20 ms, one after another.
    camera.evaluate("window.peers.forEach((p) => p.close())")
    wait_until("it is over", lambda: server.metric("rushes_webrtc_sessions", way="in") == 0)
    archived = client_of(server, "kinesis-video-archived-media", verify=server.data / "self-signed.pem")
    stored = sorted(archived.list_fragments(StreamName="recordings")["Fragments"], key=lambda f: f["ProducerTimestamp"])
    span = {"StartTimestamp": stored[0]["ProducerTimestamp"], "EndTimestamp": stored[-1]["ProducerTimestamp"]}
    clip = archived.get_clip(StreamName="recordings", ClipFragmentSelector={"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": span})
    file = server.data.parent / "clip.mp4"
    file.write_bytes(clip["Payload"].read())
    tones = stored_tones(file)
    for whose in ({"master"}, {"master", "one"}, set(TONES)):
        assert tones.count(whose) >= 4, tones
    assert all("master" in t for t in tones[4:-2]), tones
    times = media.sound_times(file)
    steps = [b - a for a, b in zip(times, times[1:])]
    assert len(times) > 500 and all(abs(s - 0.02) < 0.002 for s in steps), [s for s in steps if abs(s - 0.02) >= 0.002]


def test_viewers_hear_each_other_beside_a_master_without_sound(serve, context):  # noqa: F811
    server, pages = talking(serve, context, says=None, aloud=True)
    both = {"one": {"two"}, "two": {"one"}, "mute": {"one", "two"}, "master": {"one", "two"}}
    for name, page in pages.items():
        wait_until(f"{name} hears both", lambda: hears(page) == both[name])
    # One alone, as it comes.
    pages["two"].evaluate(SAYS, False)
    for name, page in pages.items():
        wait_until(f"{name} hears one", lambda: hears(page) == both[name] - {"two"})
    assert [t["codecName"] for t in server.call("GET", "/v1/streams/recordings")["tracks"]] == ["H.264"]


def test_without_a_mixer_the_master_hears_one_at_a_time(serve, context):  # noqa: F811
    server, pages = talking(serve, context, "--set", "webrtc.mixers=0", aloud=True)
    one = lambda: len(w := hears(pages["master"])) == 1 and w
    first = wait_until("the master hears one", one)
    for name in ("one", "two", "mute"):
        wait_until(f"{name} hears the master", lambda: hears(pages[name]) == {"master"})
    # The other has its turn after ten seconds.
    wait_until("the master hears the other", lambda: (w := one()) and w != first)
    said = server.log.read_text(errors="replace")
    assert said.count("viewers' sound is not mixed") == 1 and "webrtc.mixers" in said, said
    assert server.metric("rushes_frames_mixed_total") == 0 and not workers(server)


def test_what_is_refused(server):
    video = client(server)
    storage = client(server, "kinesis-video-webrtc-storage")
    none = video.create_signaling_channel(ChannelName="none")["ChannelARN"]
    assert refused(storage.join_storage_session, channelArn=none)[:2] == ("InvalidArgumentException", 400)
    assert refused(storage.join_storage_session, channelArn=none.replace("none", "nothing"))[:2] == ("ResourceNotFoundException", 404)
    arn = storing(server)
    nobody = refused(storage.join_storage_session_as_viewer, channelArn=arn, clientId="v")
    assert nobody[:2] == ("ResourceNotFoundException", 404) and "publishes" in nobody[2]
    loose = requests.post(f"{server.url}/joinStorageSessionAsViewer", json={"channelArn": arn}, timeout=10)
    assert loose.status_code == 403


def test_the_offer_waits_for_the_master_and_nonsense_ends_it(server):
    arn = storing(server)
    storage = client(server, "kinesis-video-webrtc-storage")
    storage.join_storage_session(channelArn=arn)
    with connect(server, arn) as master:
        offer = told(master)
        sdp = offer["messagePayload"]["sdp"]
        assert offer["messageType"] == "SDP_OFFER" and offer["messagePayload"]["type"] == "offer"
        assert re.findall(r"^m=(\w+)|^a=(recvonly|sendrecv|sendonly)", sdp, re.M) == [("video", ""), ("", "recvonly"), ("audio", ""), ("", "sendrecv")], sdp
        assert "a=ice-lite" in sdp
        assert "H264/90000" in sdp and "opus/48000/2" in sdp and "VP8" not in sdp
        # A candidate, then an answer that is none: the session is over, the channel is not.
        master.send(message("ICE_CANDIDATE", {"candidate": "candidate:1 1 udp 1 192.0.2.1 9 typ host"}))
        master.send(json.dumps({"action": "SDP_ANSWER", "messagePayload": "AAAA"}))
        storage.join_storage_session(channelArn=arn)
        assert told(master)["senderClientId"] != offer["senderClientId"]
        # An answer that takes nothing.
        none = re.sub(r"^m=(\w+) \d+", r"m=\1 0", sdp, flags=re.M).replace("recvonly", "inactive")
        master.send(message("SDP_ANSWER", {"type": "answer", "sdp": none}))
        storage.join_storage_session(channelArn=arn)
        assert told(master)["messageType"] == "SDP_OFFER"
    assert server.metric("rushes_webrtc_sessions", way="in") == 0
