"""Streams of Kinesis Video with something in them."""

import contextlib
import subprocess
import threading
import time

from . import media
from .putmedia import PutMedia

T0 = 1_700_000_000_000


def archived(server):
    from test_kvs import client

    return client(server, "kinesis-video-archived-media")


def loose(server):
    """A client that lets the server find out what is wrong."""
    import boto3
    from botocore.config import Config

    config = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
    keys = {"aws_access_key_id": server.key, "aws_secret_access_key": server.secret}
    return boto3.client("kinesis-video-archived-media", endpoint_url=server.url, region_name="us-east-1", config=config, **keys)


def starts(server, stream):
    """When a stream's fragments begin by the producer's clock, in milliseconds."""
    return [round(f["ProducerTimestamp"].timestamp() * 1000) for f in archived(server).list_fragments(StreamName=stream)["Fragments"]]


#: As Matroska that is sent as it is made, each group of pictures in a Cluster.
LIVE = ["-c", "copy", "-f", "matroska", "-live", "1", "-cluster_time_limit", "30000", "-cluster_size_limit", "50000000", "pipe:1"]


def put_clip(server, stream, file, start=T0):
    """Puts a clip by PutMedia as a producer does, each group of pictures a fragment; their numbers."""
    mkv = media.ffmpeg("-i", file, *LIVE)
    p = PutMedia(server, stream, timecodes="RELATIVE", start=f"{start // 1000}.{start % 1000:03}")
    p.send(mkv, step=50_000)
    p.finish()
    assert not p.of("ERROR"), p.acks
    return [a["FragmentNumber"] for a in p.of("PERSISTED")]


@contextlib.contextmanager
def putting_live(server, stream, file):
    """Puts a clip again and again at its own speed, until the end."""
    p = PutMedia(server, stream, timecodes="RELATIVE", start=f"{time.time():.3f}")
    assert p.answered() == 200, p.body
    made = subprocess.Popen([*media.FFMPEG, "-re", "-stream_loop", "-1", "-i", str(file), *LIVE], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)

    def pass_on():
        while data := made.stdout.read1(1 << 20):
            p.send(data)

    sender = threading.Thread(target=pass_on)
    sender.start()
    try:
        yield p
    finally:
        made.kill()
        sender.join(20)
        made.wait(20)
        made.stdout.close()
        p.socket.close()
