"""Nothing readable on the disk or in the store: a run with known plaintexts, then every byte of both is searched."""

import base64
import json
import stat

from support import media
from support.media import ffmpeg_publisher, publish, running
from support.wait import wait_until

# Its owner's files, in the clear by design; the folder itself is closed to others.
CLEAR = {"root-key.json", "master.key"}


def forms(secret):
    """A secret as it could lie about: as it is, percent-encoded, in base64 at any offset, in UTF-16."""
    raw = secret if isinstance(secret, bytes) else secret.encode()
    yield raw
    yield raw.decode("latin-1").encode("utf-16-le")
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw)
        # Without the ends, which depend on the neighbours.
        yield encoded[4:-4] if len(encoded) > 16 else encoded
    yield raw.hex().encode()


def test_nothing_readable_is_on_the_disk_or_in_the_store(serve, clips, s3):
    server = serve("data", *s3.flags(), "--set", "video.target_seconds=1", "--set", "shard_log.segment_seconds=2", "--set", "shard_log.journal_file_mib=1", rtsp="127.0.0.1:0")
    clip = clips(seconds=6, audio=True)
    password = "Correct-Horse-Battery-Staple-42"
    publish(ffmpeg_publisher(clip, server.publish_url("door")))
    server.add_pull("yard", f"rtsp://camera-user:{password}@127.0.0.1:9/secret-path-of-the-camera")
    pushed = server.add_push("gate")
    token = pushed.split("://")[1].split("@")[0].rstrip(":")
    with running(ffmpeg_publisher(clip, pushed)):
        wait_until("the pull has been tried", lambda: server.camera("yard")["state"] in ("failed", "rejected"))
        wait_until("both are recorded", lambda: all(s["recorded"] for s in server.call("GET", "/v1/streams")["streams"] if s["name"] != "yard"))
        still = server.request("GET", "/v1/streams/door/still.jpg")
        assert still.ok and still.content[:2] == b"\xff\xd8"
        hls = server.session("door")
    media.same_video(clip, server.whole("door"))
    server.stored()
    assert s3.keys(below="segments/")

    needles = {"the camera's password": password, "the camera's path": "secret-path-of-the-camera",
               "the root key's secret": server.secret, "the publish token": token, "a playback token": hls.split("/hls/")[1].split("/")[0]}
    units = [u for u in media.nal_units(clip) if len(u) > 200]
    for n, unit in enumerate((units[0], units[len(units) // 2], units[-1])):
        needles[f"video ({n})"] = unit[40:72]
    needles["the encoder's own words"] = "x264 - core"

    def search(when):
        searched = 0
        # Of the bucket all is searched, whatever its name: the server's owner is not the store's.
        for p in [*server.data.rglob("*"), *s3.folder.rglob("*")]:
            if not p.is_file():
                continue
            try:
                mode, content = stat.S_IMODE(p.stat().st_mode), p.read_bytes()
            except FileNotFoundError:
                # A segment that was finished meanwhile has another name.
                continue
            if p.name in CLEAR and server.data in p.parents:
                assert mode == 0o600, f"{p.name} has mode {mode:o}"
                continue
            searched += len(content)
            for what, secret in needles.items():
                for form in forms(secret):
                    assert form not in content, f"{when}: {what} is readable in {p}"
        assert searched > 100_000, "there was nothing to search"
        assert stat.S_IMODE(server.data.stat().st_mode) == 0o700

    search("while it runs")
    server.restart()
    search("after a restart")
    server.stop()
    search("when stopped")
    log = server.log.read_text()
    for what in ("the camera's password", "the root key's secret", "the publish token"):
        assert needles[what] not in log, f"{what} is in the log"
    assert set(json.loads((server.data / "root-key.json").read_text())) >= {"accessKeyId", "secretAccessKey"}


def test_a_deleted_streams_keys_are_gone(serve, clips):
    """What a thief with the whole folder and the master key could still read: nothing of a deleted stream's name either."""
    server = serve("data", "--set", "video.target_seconds=1")
    publish(ffmpeg_publisher(clips(seconds=4), server.publish_url("ephemeral-stream")))
    server.quiet("ephemeral-stream")
    playable = server.whole("ephemeral-stream")
    server.call("DELETE", "/v1/streams/ephemeral-stream")
    assert not server.http.get(playable).ok
    path = playable.removeprefix(server.url)
    server.restart()
    assert not server.request("GET", path).ok
    assert all(s["name"] != "ephemeral-stream" for s in server.call("GET", "/v1/streams")["streams"])
