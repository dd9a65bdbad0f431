"""Signaling channels, what is stored of their media, and edge configurations, through boto3."""

from test_kvs import client, refused


def test_a_channel_is_made_described_changed_and_deleted(serve):
    server = serve()
    video = client(server)
    arn = video.create_signaling_channel(ChannelName="door", Tags=[{"Key": "a", "Value": "1"}])["ChannelARN"]
    info = video.describe_signaling_channel(ChannelName="door")["ChannelInfo"]
    assert info["ChannelARN"] == arn and ":channel/door/" in arn
    assert (info["ChannelType"], info["ChannelStatus"], info["SingleMasterConfiguration"]) == ("SINGLE_MASTER", "ACTIVE", {"MessageTtlSeconds": 60})
    assert refused(video.create_signaling_channel, ChannelName="door")[:2] == ("ResourceInUseException", 400)
    assert refused(video.create_signaling_channel, ChannelName="x", ChannelType="FULL_MESH")[0] == "InvalidArgumentException"
    assert refused(video.create_signaling_channel, ChannelName="x", SingleMasterConfiguration={"MessageTtlSeconds": 121})[0] == "InvalidArgumentException"

    change = {"ChannelARN": arn, "CurrentVersion": info["Version"], "SingleMasterConfiguration": {"MessageTtlSeconds": 30}}
    video.update_signaling_channel(**change)
    assert refused(video.update_signaling_channel, **change)[0] == "VersionMismatchException"
    server.restart()
    video = client(server)
    new = video.describe_signaling_channel(ChannelARN=arn)["ChannelInfo"]
    assert new["SingleMasterConfiguration"] == {"MessageTtlSeconds": 30} and new["Version"] != info["Version"]

    video.tag_resource(ResourceARN=arn, Tags=[{"Key": "b", "Value": "2"}])
    video.untag_resource(ResourceARN=arn, TagKeyList=["a"])
    assert video.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"b": "2"}
    assert refused(video.tag_resource, ResourceARN=arn, Tags=[{"Key": "aws:x", "Value": ""}])[0] == "InvalidArgumentException"
    assert refused(video.list_tags_for_resource, ResourceARN=arn.replace("door", "nobody"))[:2] == ("ResourceNotFoundException", 404)

    for n in range(3):
        video.create_signaling_channel(ChannelName=f"lane-{n}")
    pages = video.get_paginator("list_signaling_channels").paginate(PaginationConfig={"PageSize": 3})
    assert [[c["ChannelName"] for c in p["ChannelInfoList"]] for p in pages] == [["door", "lane-0", "lane-1"], ["lane-2"]]
    some = video.list_signaling_channels(ChannelNameCondition={"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": "la"})
    assert len(some["ChannelInfoList"]) == 3

    version = video.describe_signaling_channel(ChannelARN=arn)["ChannelInfo"]["Version"]
    assert refused(video.delete_signaling_channel, ChannelARN=arn, CurrentVersion=info["Version"])[0] == "VersionMismatchException"
    video.delete_signaling_channel(ChannelARN=arn, CurrentVersion=version)
    assert refused(video.describe_signaling_channel, ChannelARN=arn)[:2] == ("ResourceNotFoundException", 404)
    video.create_signaling_channel(ChannelName="door")
    assert refused(video.describe_signaling_channel, ChannelARN=arn)[0] == "ResourceNotFoundException", "another of the same name"
    assert refused(video.describe_signaling_channel)[0] == "InvalidArgumentException"


def test_where_a_channel_is(serve):
    server = serve("plain")
    video = client(server)
    arn = video.create_signaling_channel(ChannelName="c")["ChannelARN"]

    def of(**config):
        listed = video.get_signaling_channel_endpoint(ChannelARN=arn, **config)["ResourceEndpointList"]
        return {e["Protocol"]: e["ResourceEndpoint"] for e in listed}

    ws = server.url.replace("http", "ws", 1)
    assert of() == {"HTTPS": server.url, "WSS": ws}
    asked = {"Protocols": ["WSS", "HTTPS", "WEBRTC"], "Role": "VIEWER"}
    assert refused(of, SingleMasterChannelEndpointConfiguration=asked)[:2] == ("InvalidArgumentException", 400), "it stores nothing"
    stream = video.create_stream(StreamName="s", DataRetentionInHours=1)["StreamARN"]
    stores = lambda status: video.update_media_storage_configuration(ChannelARN=arn, MediaStorageConfiguration={"StreamARN": stream, "Status": status})
    stores("ENABLED")
    assert of(SingleMasterChannelEndpointConfiguration=asked) == {"HTTPS": server.url, "WSS": ws, "WEBRTC": server.url}
    stores("DISABLED")
    assert refused(of, SingleMasterChannelEndpointConfiguration=asked)[0] == "InvalidArgumentException"
    assert refused(of, SingleMasterChannelEndpointConfiguration={"Protocols": ["FTP"]})[0] == "InvalidArgumentException"
    other = serve("other", "--set", 'video.endpoint="https://video.example.org"')
    video = client(other)
    arn = video.create_signaling_channel(ChannelName="c")["ChannelARN"]
    assert of() == {"HTTPS": "https://video.example.org", "WSS": "wss://video.example.org"}


def test_media_storage_is_of_one_stream_and_one_channel(server):
    video = client(server)
    a, b = (video.create_signaling_channel(ChannelName=n)["ChannelARN"] for n in "ab")
    stream = video.create_stream(StreamName="s", DataRetentionInHours=1)["StreamARN"]
    of = lambda: video.describe_media_storage_configuration(ChannelARN=a)["MediaStorageConfiguration"]
    assert of() == {"Status": "DISABLED"}
    on = {"StreamARN": stream, "Status": "ENABLED"}
    video.update_media_storage_configuration(ChannelARN=a, MediaStorageConfiguration=on)
    assert of() == on
    mapped = video.describe_mapped_resource_configuration(StreamName="s")["MappedResourceConfigurationList"]
    assert [m["ARN"] for m in mapped] == [a]
    update = video.update_media_storage_configuration
    assert refused(update, ChannelARN=b, MediaStorageConfiguration=on)[0] == "ResourceInUseException"
    assert refused(update, ChannelARN=b, MediaStorageConfiguration={"Status": "ENABLED"})[0] == "InvalidArgumentException"
    none = video.create_stream(StreamName="none")["StreamARN"]
    assert refused(update, ChannelARN=b, MediaStorageConfiguration={"StreamARN": none, "Status": "ENABLED"})[0] == "NoDataRetentionException"
    update(ChannelARN=a, MediaStorageConfiguration={"Status": "DISABLED"})
    assert video.describe_mapped_resource_configuration(StreamName="s")["MappedResourceConfigurationList"] == []


def test_edge_configurations_are_kept_and_returned(server):
    video = client(server)
    hub = "arn:aws:iot:us-east-1:000000000000:thing/hub"
    config = {
        "HubDeviceArn": hub,
        "RecorderConfig": {
            "MediaSourceConfig": {"MediaUriSecretArn": "arn:aws:secretsmanager:us-east-1:000000000000:secret:camera", "MediaUriType": "RTSP_URI"},
            "ScheduleConfig": {"ScheduleExpression": "0 0 8 ? * * *", "DurationInSeconds": 3600}},
        "DeletionConfig": {"EdgeRetentionInHours": 24, "LocalSizeConfig": {"MaxLocalMediaSizeInMB": 64, "StrategyOnFullSize": "DELETE_OLDEST_MEDIA"}, "DeleteAfterUpload": True}}
    for n in range(3):
        video.create_stream(StreamName=f"s{n}", DataRetentionInHours=1)
        started = video.start_edge_configuration_update(StreamName=f"s{n}", EdgeConfig=config)
        assert started["EdgeConfig"] == config and started["SyncStatus"] == "SYNCING"
    described = video.describe_edge_configuration(StreamName="s1")
    assert described["EdgeConfig"] == config and described["CreationTime"] == described["LastUpdatedTime"]
    pages = video.get_paginator("list_edge_agent_configurations").paginate(HubDeviceArn=hub, PaginationConfig={"PageSize": 2})
    assert [[e["StreamName"] for e in p["EdgeConfigs"]] for p in pages] == [["s0", "s1"], ["s2"]]
    assert video.list_edge_agent_configurations(HubDeviceArn=hub + "2")["EdgeConfigs"] == []
    video.delete_edge_configuration(StreamName="s1")
    assert refused(video.describe_edge_configuration, StreamName="s1")[:2] == ("StreamEdgeConfigurationNotFoundException", 404)
    assert refused(video.delete_edge_configuration, StreamName="s1")[0] == "StreamEdgeConfigurationNotFoundException"
    video.create_stream(StreamName="none")
    assert refused(video.start_edge_configuration_update, StreamName="none", EdgeConfig=config)[0] == "NoDataRetentionException"
    bad = {**config, "HubDeviceArn": "nothing"}
    assert refused(video.start_edge_configuration_update, StreamName="s1", EdgeConfig=bad)[0] == "InvalidArgumentException"
