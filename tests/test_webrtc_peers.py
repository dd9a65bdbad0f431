"""WebRTC peers that are no browsers: aiortc, which has ICE, DTLS, SRTP and RTP of its own, as publisher and as viewer."""

import asyncio

import pytest
import requests
from aiortc import AudioStreamTrack, RTCPeerConnection, RTCRtpReceiver, RTCRtpSender, RTCSessionDescription, VideoStreamTrack
from aiortc.mediastreams import MediaStreamError

from support import media
from support.media import ffmpeg_publisher, running
from support.wait import wait_until
from test_webrtc import live


async def agree(pc, url, token):
    """One request, as WHIP and WHEP have it; where the session is."""
    await pc.setLocalDescription(await pc.createOffer())
    head = {"Content-Type": "application/sdp", "Authorization": f"Bearer {token}"}
    answer = await asyncio.to_thread(requests.post, url, pc.localDescription.sdp, headers=head, timeout=20)
    assert answer.status_code == 201, answer.text
    await pc.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
    return answer.headers["Location"]


async def until(what, check, seconds=30):
    await asyncio.to_thread(wait_until, what, check, seconds)


def test_aiortc_publishes(server):
    server.add_push("door")

    async def run():
        pc = RTCPeerConnection()
        video = pc.addTransceiver(VideoStreamTrack(), direction="sendonly")
        video.setCodecPreferences([c for c in RTCRtpSender.getCapabilities("video").codecs if c.mimeType == "video/H264"])
        pc.addTransceiver(AudioStreamTrack(), direction="sendonly")
        where = await agree(pc, f"{server.url}/whip/door", f"{server.key}:{server.secret}")
        await until("it is recorded", lambda: any(s["name"] == "door" for s in server.call("GET", "/v1/streams")["streams"]) and len(server.fragments("door")) >= 3)
        # It sends a key frame when it is asked for one.
        assert all(f["keyFrame"] for f in server.fragments("door"))
        gone = await asyncio.to_thread(requests.delete, server.url + where, timeout=20)
        assert gone.status_code == 200
        await pc.close()

    asyncio.run(run())
    server.quiet("door")
    assert {t["codecName"] for t in server.call("GET", "/v1/streams/door")["tracks"]} == {"H.264", "Opus"}
    url = server.whole("door")
    assert media.packets(url) > 60 and media.packets(url, "a") > 60


@pytest.mark.parametrize("sound", [False, True])
def test_aiortc_watches(server, clips, sound):
    with running(ffmpeg_publisher(clips(seconds=30), server.publish_url("yard"), loop=True)):
        live(server, "yard")
        token = server.call("POST", "/v1/streams/yard/whep", {})["token"]

        async def run():
            pc = RTCPeerConnection()
            t = pc.addTransceiver("video", direction="recvonly")
            t.setCodecPreferences([c for c in RTCRtpReceiver.getCapabilities("video").codecs if c.mimeType == "video/H264"])
            if sound:
                # The stream has none: it is declined, and the picture comes.
                pc.addTransceiver("audio", direction="recvonly")
            await agree(pc, f"{server.url}/whep/yard", token)
            track = t.receiver.track
            sizes = []
            while len(sizes) < 30:
                frame = await asyncio.wait_for(track.recv(), 30)
                sizes.append((frame.width, frame.height))
            assert set(sizes) == {(320, 180)}, sizes
            assert server.metric("rushes_webrtc_sessions", way="out") == 1
            await pc.close()
            with pytest.raises(MediaStreamError):
                while True:
                    await asyncio.wait_for(track.recv(), 30)

        asyncio.run(run())
        wait_until("its session has ended", lambda: server.metric("rushes_webrtc_sessions", way="out") == 0, 60)
