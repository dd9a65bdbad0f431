"""Kinesis Video Streams through boto3: streams, their settings and tags."""

import concurrent.futures
import datetime
import json

import boto3
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError


def client(server, service="kinesisvideo", endpoint=None, **more):
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30)
    keys = {"aws_access_key_id": server.key, "aws_secret_access_key": server.secret, **more}
    return boto3.client(service, endpoint_url=endpoint or server.url, region_name="us-east-1", config=config, **keys)


def refused(call, **k):
    with pytest.raises(ClientError) as e:
        call(**k)
    r = e.value.response
    return r["Error"]["Code"], r["ResponseMetadata"]["HTTPStatusCode"], r["Error"]["Message"]


def test_a_stream_is_made_described_changed_and_deleted(serve):
    server = serve()
    video = client(server)
    arn = video.create_stream(StreamName="door", MediaType="video/h264", DeviceName="d1", DataRetentionInHours=2, Tags={"a": "1"})["StreamARN"]
    info = video.describe_stream(StreamName="door")["StreamInfo"]
    assert info["StreamARN"] == arn and info["Status"] == "ACTIVE" and info["DataRetentionInHours"] == 2
    assert (info["MediaType"], info["DeviceName"]) == ("video/h264", "d1") and info["KmsKeyId"].endswith("alias/aws/kinesisvideo")
    made = datetime.datetime.fromtimestamp(int(arn.rsplit("/", 1)[1]) / 1000, datetime.UTC)
    assert made == info["CreationTime"]
    assert refused(video.create_stream, StreamName="door")[:2] == ("ResourceInUseException", 400)

    # Versions change, and hold others off.
    video.update_stream(StreamARN=arn, CurrentVersion=info["Version"], MediaType="video/h265")
    assert refused(video.update_stream, StreamARN=arn, CurrentVersion=info["Version"], DeviceName="x")[0] == "VersionMismatchException"
    new = video.describe_stream(StreamARN=arn)["StreamInfo"]
    assert new["Version"] != info["Version"] and (new["MediaType"], new["DeviceName"]) == ("video/h265", "d1")
    more = {"StreamName": "door", "DataRetentionChangeInHours": 22, "CurrentVersion": new["Version"]}
    video.update_data_retention(Operation="INCREASE_DATA_RETENTION", **more)
    new = video.describe_stream(StreamARN=arn)["StreamInfo"]
    assert new["DataRetentionInHours"] == 24 and server.call("GET", "/v1/streams/door")["retention"]["hours"] == 24
    more |= {"DataRetentionChangeInHours": 25, "CurrentVersion": new["Version"]}
    assert refused(video.update_data_retention, Operation="DECREASE_DATA_RETENTION", **more)[0] == "InvalidArgumentException"

    # What changes it elsewhere changes its version, too; and it is all there after a restart.
    server.call("PATCH", "/v1/streams/door", {"retention": {"hours": 3}})
    server.restart()
    video = client(server)
    again = video.describe_stream(StreamName="door")["StreamInfo"]
    assert again["Version"] != new["Version"] and again["DataRetentionInHours"] == 3 and again["MediaType"] == "video/h265"
    assert video.list_tags_for_stream(StreamName="door")["Tags"] == {"a": "1"}

    assert refused(video.delete_stream, StreamARN=arn, CurrentVersion=new["Version"])[0] == "VersionMismatchException"
    video.delete_stream(StreamARN=arn, CurrentVersion=again["Version"])
    assert refused(video.describe_stream, StreamName="door")[:2] == ("ResourceNotFoundException", 404)
    video.create_stream(StreamName="door")
    assert refused(video.describe_stream, StreamARN=arn)[0] == "ResourceNotFoundException", "another stream of the same name"
    assert video.describe_stream(StreamName="door")["StreamInfo"]["DataRetentionInHours"] == 0


def test_streams_of_cameras_are_listed_too_and_in_pages(server):
    video = client(server)
    server.call("POST", "/v1/streams", {"name": "yard"})
    for n in range(4):
        video.create_stream(StreamName=f"lane-{n}")
    names = lambda **k: [s["StreamName"] for s in video.list_streams(**k)["StreamInfoList"]]
    assert names() == ["lane-0", "lane-1", "lane-2", "lane-3", "yard"]
    assert names(StreamNameCondition={"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": "ya"}) == ["yard"]
    pages = video.get_paginator("list_streams").paginate(PaginationConfig={"PageSize": 2})
    assert [[s["StreamName"] for s in p["StreamInfoList"]] for p in pages] == [["lane-0", "lane-1"], ["lane-2", "lane-3"], ["yard"]]
    assert refused(video.list_streams, NextToken="abcd")[0] == "InvalidArgumentException"
    yard = video.describe_stream(StreamName="yard")["StreamInfo"]
    assert yard["DataRetentionInHours"] == 87600 and "MediaType" not in yard, "kept for ever: as long as there is a word for"


def test_tags_and_settings_are_kept_and_returned(server):
    video = client(server)
    arn = video.create_stream(StreamName="s", DataRetentionInHours=1)["StreamARN"]
    video.tag_stream(StreamName="s", Tags={"place": "gate", "floor": "2"})
    video.tag_resource(ResourceARN=arn, Tags=[{"Key": "floor", "Value": "3"}])
    assert video.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"place": "gate", "floor": "3"}
    video.untag_stream(StreamARN=arn, TagKeyList=["place"])
    video.untag_resource(ResourceARN=arn, TagKeyList=["nobody"])
    assert video.list_tags_for_stream(StreamARN=arn)["Tags"] == {"floor": "3"}
    many = {f"t{n}": "" for n in range(50)}
    assert refused(video.tag_stream, StreamName="s", Tags=many)[0] == "TagsPerResourceExceededLimitException"
    assert refused(video.tag_stream, StreamName="s", Tags={"aws:x": ""})[0] == "InvalidArgumentException"

    images = {
        "Status": "ENABLED", "ImageSelectorType": "PRODUCER_TIMESTAMP", "SamplingInterval": 3000, "Format": "JPEG",
        "DestinationConfig": {"Uri": "s3://bucket/prefix", "DestinationRegion": "us-east-1"}, "FormatConfig": {"JPEGQuality": "70"}, "WidthPixels": 640}
    assert "ImageGenerationConfiguration" not in video.describe_image_generation_configuration(StreamName="s")
    video.update_image_generation_configuration(StreamName="s", ImageGenerationConfiguration=images)
    assert video.describe_image_generation_configuration(StreamARN=arn)["ImageGenerationConfiguration"] == images
    seldom = {**images, "SamplingInterval": 60_000}
    video.update_image_generation_configuration(StreamName="s", ImageGenerationConfiguration=seldom)
    assert video.describe_image_generation_configuration(StreamName="s")["ImageGenerationConfiguration"] == seldom
    bad = {**images, "SamplingInterval": 5}
    assert refused(video.update_image_generation_configuration, StreamName="s", ImageGenerationConfiguration=bad)[0] == "InvalidArgumentException"
    video.update_image_generation_configuration(StreamName="s")
    assert "ImageGenerationConfiguration" not in video.describe_image_generation_configuration(StreamName="s")

    told = {"Status": "DISABLED", "DestinationConfig": {"Uri": "sns://topic"}}
    video.update_notification_configuration(StreamName="s", NotificationConfiguration=told)
    assert video.describe_notification_configuration(StreamName="s")["NotificationConfiguration"] == told
    video.create_stream(StreamName="none")
    assert refused(video.update_notification_configuration, StreamName="none", NotificationConfiguration=told)[0] == "NoDataRetentionException"

    tier = lambda: video.describe_stream_storage_configuration(StreamName="s")["StreamStorageConfiguration"]["DefaultStorageTier"]
    assert tier() == "HOT"
    version = video.describe_stream(StreamName="s")["StreamInfo"]["Version"]
    video.update_stream_storage_configuration(StreamName="s", CurrentVersion=version, StreamStorageConfiguration={"DefaultStorageTier": "WARM"})
    assert tier() == "WARM"
    assert video.describe_mapped_resource_configuration(StreamName="s")["MappedResourceConfigurationList"] == []


def test_endpoints_are_where_the_client_already_is_or_as_configured(serve):
    server = serve()
    video = client(server)
    video.create_stream(StreamName="s")
    for api in ("PUT_MEDIA", "GET_MEDIA", "LIST_FRAGMENTS", "GET_HLS_STREAMING_SESSION_URL"):
        assert video.get_data_endpoint(StreamName="s", APIName=api)["DataEndpoint"] == server.url
    assert refused(video.get_data_endpoint, StreamName="nobody", APIName="PUT_MEDIA")[0] == "ResourceNotFoundException"
    other = serve("other", "--set", 'video.endpoint="https://video.example.org/"')
    video = client(other)
    video.create_stream(StreamName="s")
    assert video.get_data_endpoint(StreamName="s", APIName="PUT_MEDIA")["DataEndpoint"] == "https://video.example.org"


def test_what_is_of_another_account_is_nobodys_here(server):
    """Also where there is something of that name; the region of an ARN says nothing."""
    video = client(server)
    stream = video.create_stream(StreamName="s", DataRetentionInHours=1)["StreamARN"]
    channel = video.create_signaling_channel(ChannelName="c")["ChannelARN"]
    far, elsewhere = (lambda arn: arn.replace(":000000000000:", ":111122223333:")), (lambda arn: arn.replace("us-east-1", "eu-west-1"))
    denied = ("AccessDeniedException", 403)
    assert refused(video.describe_stream, StreamARN=far(stream))[:2] == denied
    assert refused(video.delete_stream, StreamARN=far(stream))[:2] == denied
    assert refused(video.tag_resource, ResourceARN=far(stream), Tags=[{"Key": "a", "Value": ""}])[:2] == denied
    assert refused(video.describe_signaling_channel, ChannelARN=far(channel))[:2] == denied
    assert refused(video.delete_signaling_channel, ChannelARN=far(channel))[:2] == denied
    assert refused(client(server, "kinesis-video-signaling").get_ice_server_config, ChannelARN=far(channel))[:2] == denied
    assert refused(client(server, "kinesis-video-archived-media").list_fragments, StreamARN=far(stream))[:2] == denied
    store = lambda arn, to=channel: video.update_media_storage_configuration(ChannelARN=to, MediaStorageConfiguration={"StreamARN": arn, "Status": "ENABLED"})
    assert refused(store, arn=far(stream))[:2] == ("ResourceNotFoundException", 404)
    assert video.describe_stream(StreamARN=elsewhere(stream))["StreamInfo"]["StreamARN"] == stream
    store(elsewhere(stream))
    other = video.create_signaling_channel(ChannelName="d")["ChannelARN"]
    assert refused(store, arn=stream, to=other)[0] == "ResourceInUseException", "one stream, however it is named"


def test_what_is_wrong_is_said_as_the_services_say_it(server):
    video = client(server, aws_secret_access_key="wrong")
    assert refused(video.list_streams)[:2] == ("InvalidSignatureException", 403)
    video = client(server)
    video.meta.events.register("before-parameter-build.*", lambda **_: None)
    code, status, words = refused(video.create_stream, StreamName="no spaces")
    assert (code, status) == ("InvalidArgumentException", 400)
    assert words == ("1 validation error detected: Value 'no spaces' at 'streamName' failed to satisfy constraint: "
                     "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+")
    assert refused(video.describe_stream)[0] == "InvalidArgumentException"
    assert refused(video.describe_stream, StreamName="a", StreamARN="arn:aws:kinesisvideo:us-east-1:000000000000:stream/a/1")[0] == "InvalidArgumentException"

    r = requests.post(server.url + "/createStream", json={"StreamName": "x"}, timeout=10)
    assert r.status_code == 403 and r.headers["x-amzn-ErrorType"] == r.headers["x-amz-ErrorType"] == "MissingAuthenticationTokenException"
    assert r.headers["x-amzn-RequestId"] == r.headers["x-amz-RequestId"] and "Message" in r.json()
    assert "x-amzn-RequestId" not in requests.get(server.url + "/createStream", timeout=10).headers, "not an operation"


@pytest.mark.parametrize("service, call, asked, member", [
    ("kinesisvideo", "get_signaling_channel_endpoint", {"ChannelARN": "arn:aws:kinesisvideo:us-east-1:000000000000:channel/a/1"}, "SingleMasterChannelEndpointConfiguration"),
    ("kinesis-video-media", "get_media", {"StartSelector": {"StartSelectorType": "NOW"}}, "StartSelector"),
    ("kinesis-video-archived-media", "list_fragments", {}, "FragmentSelector"),
])
def test_a_list_is_no_structure(server, service, call, asked, member):
    api = client(server, service)
    # What no SDK sends.
    api.meta.events.register("before-call.*.*", lambda params, **_: params.update(body=json.dumps({**asked, member: []}).encode()))
    assert refused(getattr(api, call), **asked)[:2] == ("SerializationException", 400)


def test_pages_of_other_origins_may_call(server):
    asked = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type,x-amz-date"}
    for path in ("/createStream", "/"):
        r = requests.options(server.url + path, headers=asked, timeout=10)
        assert r.status_code == 200 and r.headers["access-control-allow-origin"] == "*", path
        assert r.headers["access-control-allow-methods"] == "POST" and "authorization" in r.headers["access-control-allow-headers"]
    assert "access-control-allow-origin" not in requests.options(server.url + "/v1/streams", headers=asked, timeout=10).headers
    r = requests.post(server.url + "/createStream", json={}, headers={"Origin": "https://page.example"}, timeout=10)
    assert r.status_code == 403 and r.headers["access-control-allow-origin"] == "*" and "x-amzn-ErrorType" in r.headers["access-control-expose-headers"]
    assert "access-control-allow-origin" not in requests.post(server.url + "/createStream", json={}, timeout=10).headers


def test_media_is_asked_for_five_times_a_second(serve):
    def codes(server):
        client(server).create_stream(StreamName="s", DataRetentionInHours=1)
        media = client(server, "kinesis-video-media")

        def one(_):
            try:
                media.get_media(StreamName="s", StartSelector={"StartSelectorType": "NOW"})["Payload"].close()
            except ClientError as e:
                return e.response["Error"]["Code"]

        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            return set(pool.map(one, range(30)))

    assert "ClientLimitExceededException" in codes(serve("aws"))
    assert codes(serve("off", "--set", 'video.limits="off"')) == {None}
