// A stream's life by the AWS SDK for JavaScript, which speaks HTTP/2 by prior knowledge. Endpoint and key come from the
// environment; prints one line of JSON.
import {
  CreateStreamCommand, DeleteStreamCommand, DescribeStreamSummaryCommand, GetRecordsCommand, GetShardIteratorCommand,
  KinesisClient, ListShardsCommand, PutRecordsCommand, RegisterStreamConsumerCommand, SubscribeToShardCommand,
  waitUntilStreamExists,
} from "@aws-sdk/client-kinesis";

const client = new KinesisClient({ maxAttempts: 1 });
const told = {};
try {
  const StreamName = "from-javascript";
  await client.send(new CreateStreamCommand({ StreamName, ShardCount: 1 }));
  await waitUntilStreamExists({ client, maxWaitTime: 20, minDelay: 0.2, maxDelay: 0.5 }, { StreamName });
  const { StreamDescriptionSummary: summary } = await client.send(new DescribeStreamSummaryCommand({ StreamName }));
  told.created = summary.StreamCreationTimestamp instanceof Date;
  const Records = Array.from({ length: 50 }, (_, i) => ({ PartitionKey: `k${i}`, Data: new TextEncoder().encode(`record ${i}`) }));
  told.failed = (await client.send(new PutRecordsCommand({ StreamName, Records }))).FailedRecordCount;
  const [{ ShardId }] = (await client.send(new ListShardsCommand({ StreamName }))).Shards;
  const from = { StreamName, ShardId, ShardIteratorType: "TRIM_HORIZON" };
  const { ShardIterator } = await client.send(new GetShardIteratorCommand(from));
  const got = (await client.send(new GetRecordsCommand({ ShardIterator }))).Records;
  told.got = got.map((r) => new TextDecoder().decode(r.Data));
  const { Consumer } = await client.send(
    new RegisterStreamConsumerCommand({ StreamARN: summary.StreamARN, ConsumerName: "js" }));
  for (let tries = 0; ; tries++) {
    try {
      const { EventStream } = await client.send(new SubscribeToShardCommand({
        ConsumerARN: Consumer.ConsumerARN, ShardId, StartingPosition: { Type: "TRIM_HORIZON" } }));
      told.pushed = [];
      for await (const { SubscribeToShardEvent: event } of EventStream) {
        told.pushed.push(...event.Records.map((r) => new TextDecoder().decode(r.Data)));
        if (told.pushed.length >= Records.length) break;
      }
      break;
    } catch (e) {
      // The consumer is not ready yet.
      if (e.name !== "ResourceInUseException" || tries > 50) throw e;
      await new Promise((done) => setTimeout(done, 200));
    }
  }
  await client.send(new DeleteStreamCommand({ StreamName, EnforceConsumerDeletion: true }));
} catch (e) {
  told.error = e.name;
  told.message = e.message;
}
console.log(JSON.stringify(told));
client.destroy();
