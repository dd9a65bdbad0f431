"""Streams of Kinesis Video with something in them."""

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


def put_clip(server, stream, file, start=T0):
    """Puts a clip by PutMedia as a producer does, each group of pictures a fragment; their numbers."""
    mkv = media.ffmpeg("-i", file, "-c", "copy", "-f", "matroska", "-live", "1", "-cluster_time_limit", "30000", "-cluster_size_limit", "50000000", "pipe:1")
    p = PutMedia(server, stream, timecodes="RELATIVE", start=f"{start // 1000}.{start % 1000:03}")
    p.send(mkv, step=50_000)
    p.finish()
    assert not p.of("ERROR"), p.acks
    return [a["FragmentNumber"] for a in p.of("PERSISTED")]
