//! A stream's life by the AWS SDK for Rust. Endpoint and key come from the environment; prints one line of JSON.

use std::{env, time::Duration};

use aws_sdk_kinesis::{
    Client,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig},
    primitives::Blob,
    types::{PutRecordsRequestEntry, Record, ShardIteratorType, StartingPosition, StreamStatus},
};

type Failure = Box<dyn std::error::Error>;

fn var(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

fn texts(records: &[Record]) -> Vec<String> {
    records.iter().map(|r| String::from_utf8_lossy(r.data().as_ref()).into_owned()).collect()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let key =
        Credentials::new(var("AWS_ACCESS_KEY_ID"), var("AWS_SECRET_ACCESS_KEY"), None, None, "environment");
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(var("AWS_ENDPOINT_URL"))
        .region(Region::new(var("AWS_REGION")))
        .credentials_provider(key)
        .retry_config(RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let client = Client::from_conf(config);
    let name = "from-rust";
    client.create_stream().stream_name(name).shard_count(1).send().await?;
    let summary = loop {
        let out = client.describe_stream_summary().stream_name(name).send().await?;
        let summary = out.stream_description_summary.ok_or("no summary")?;
        if *summary.stream_status() == StreamStatus::Active {
            break summary;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let created = summary.stream_creation_timestamp().secs() > 1_700_000_000;
    let entry = |n: usize| {
        let data = Blob::new(format!("record {n}"));
        PutRecordsRequestEntry::builder().partition_key(format!("k{n}")).data(data).build()
    };
    let records = (0..50).map(entry).collect::<Result<Vec<_>, _>>()?;
    let put = client.put_records().stream_name(name).set_records(Some(records)).send().await?;
    let failed = put.failed_record_count().unwrap_or_default();
    let shards = client.list_shards().stream_name(name).send().await?;
    let shard = shards.shards().first().ok_or("no shard")?.shard_id().to_owned();
    let from = ShardIteratorType::TrimHorizon;
    let iterator = client
        .get_shard_iterator()
        .stream_name(name)
        .shard_id(&shard)
        .shard_iterator_type(from.clone())
        .send()
        .await?;
    let page = client.get_records().set_shard_iterator(iterator.shard_iterator).send().await?;
    let got = texts(page.records());
    let refused =
        client.put_record().stream_name("no-such").partition_key("k").data(Blob::new("x")).send().await;
    let refused = match refused {
        Err(e) if e.as_service_error().is_some_and(|e| e.is_resource_not_found_exception()) => {
            "ResourceNotFoundException"
        }
        _ => "something else",
    };
    let consumer = client
        .register_stream_consumer()
        .stream_arn(summary.stream_arn())
        .consumer_name("rust")
        .send()
        .await?;
    let arn = consumer.consumer.ok_or("no consumer")?.consumer_arn;
    let from = StartingPosition::builder().r#type(from).build()?;
    let mut subscription =
        client.subscribe_to_shard().consumer_arn(arn).shard_id(&shard).starting_position(from).send().await?;
    let mut pushed = Vec::new();
    while pushed.len() < 50 {
        let event = subscription.event_stream.recv().await?.ok_or("the subscription ended")?;
        if let Ok(event) = event.as_subscribe_to_shard_event() {
            pushed.extend(texts(event.records()));
        }
    }
    drop(subscription);
    client.delete_stream().stream_name(name).enforce_consumer_deletion(true).send().await?;
    println!(
        "{}",
        serde_json::json!({"created": created, "failed": failed, "got": got, "refused": refused, "pushed": pushed})
    );
    Ok(())
}
