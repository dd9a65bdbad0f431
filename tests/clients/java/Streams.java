// A stream's life by the AWS SDK for Java 2.x, which speaks CBOR; the subscription by its asynchronous client, over HTTP/2.
// Endpoint and key come from the environment; prints one line of JSON.
import java.net.URI;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.http.Protocol;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.http.urlconnection.UrlConnectionHttpClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisClient;
import software.amazon.awssdk.services.kinesis.model.*;
import software.amazon.awssdk.services.kinesis.model.Record;

public class Streams {
    static String list(List<String> l) {
        return l.stream().map(s -> '"' + s + '"').collect(Collectors.joining(", ", "[", "]"));
    }

    static List<String> texts(List<Record> records) {
        return records.stream().map(r -> r.data().asUtf8String()).collect(Collectors.toList());
    }

    public static void main(String[] args) throws Exception {
        URI endpoint = URI.create(System.getenv("AWS_ENDPOINT_URL"));
        String name = "from-java";
        try (KinesisClient client = KinesisClient.builder().endpointOverride(endpoint)
                .httpClient(UrlConnectionHttpClient.create()).build()) {
            client.createStream(r -> r.streamName(name).shardCount(1));
            client.waiter().waitUntilStreamExists(r -> r.streamName(name));
            StreamDescriptionSummary summary =
                client.describeStreamSummary(r -> r.streamName(name)).streamDescriptionSummary();
            // In milliseconds, it lies in our time.
            boolean created = Math.abs(summary.streamCreationTimestamp().toEpochMilli() - System.currentTimeMillis()) < 3_600_000;
            List<PutRecordsRequestEntry> records = IntStream.range(0, 50).mapToObj(i -> PutRecordsRequestEntry.builder()
                .partitionKey("k" + i).data(SdkBytes.fromUtf8String("record " + i)).build()).collect(Collectors.toList());
            int failed = client.putRecords(r -> r.streamName(name).records(records)).failedRecordCount();
            String shard = client.listShards(r -> r.streamName(name)).shards().get(0).shardId();
            String iterator = client.getShardIterator(r -> r.streamName(name).shardId(shard)
                .shardIteratorType(ShardIteratorType.AT_TIMESTAMP).timestamp(summary.streamCreationTimestamp())).shardIterator();
            List<String> got = texts(client.getRecords(r -> r.shardIterator(iterator)).records());
            String refused = "";
            try {
                client.putRecord(r -> r.streamName("no-such").partitionKey("k").data(SdkBytes.fromUtf8String("x")));
            } catch (ResourceNotFoundException e) {
                refused = e.awsErrorDetails().errorCode();
            }
            List<String> pushed = subscribe(client, endpoint, summary.streamARN(), shard);
            client.deleteStream(r -> r.streamName(name).enforceConsumerDeletion(true));
            System.out.println("{\"created\": " + created + ", \"failed\": " + failed + ", \"got\": " + list(got)
                + ", \"refused\": \"" + refused + "\", \"pushed\": " + list(pushed) + "}");
        } catch (KinesisException e) {
            System.out.println("{\"error\": \"" + e.awsErrorDetails().errorCode() + "\"}");
        }
    }

    static List<String> subscribe(KinesisClient client, URI endpoint, String stream, String shard) throws Exception {
        String consumer = client.registerStreamConsumer(r -> r.streamARN(stream).consumerName("java")).consumer().consumerARN();
        while (client.describeStreamConsumer(r -> r.consumerARN(consumer)).consumerDescription().consumerStatus()
                != ConsumerStatus.ACTIVE) {
            Thread.sleep(100);
        }
        List<String> pushed = new ArrayList<>();
        CompletableFuture<Void> enough = new CompletableFuture<>();
        try (KinesisAsyncClient async = KinesisAsyncClient.builder().endpointOverride(endpoint)
                .httpClientBuilder(NettyNioAsyncHttpClient.builder().protocol(Protocol.HTTP2)).build()) {
            CompletableFuture<Void> running = async.subscribeToShard(
                r -> r.consumerARN(consumer).shardId(shard).startingPosition(p -> p.type(ShardIteratorType.TRIM_HORIZON)),
                SubscribeToShardResponseHandler.builder().subscriber(event -> {
                    event.accept(SubscribeToShardResponseHandler.Visitor.builder().onSubscribeToShardEvent(e -> {
                        pushed.addAll(texts(e.records()));
                        if (pushed.size() >= 50) enough.complete(null);
                    }).build());
                }).build());
            running.whenComplete((v, e) -> {
                if (e != null) enough.completeExceptionally(e);
            });
            enough.get(20, TimeUnit.SECONDS);
            running.cancel(true);
        }
        return pushed;
    }
}
