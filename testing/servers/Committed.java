import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/** Prints what Java's consumer reads of a topic with read_committed: key and value of each record, apart by a tab. */
public class Committed {
    public static void main(String[] arguments) {
        var settings = new Properties();
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("isolation.level", "read_committed");
        var texts = new StringDeserializer();
        try (var consumer = new KafkaConsumer<String, String>(settings, texts, texts)) {
            var partitions = consumer.partitionsFor(arguments[1]).stream()
                    .map(it -> new TopicPartition(it.topic(), it.partition()))
                    .toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            // With read_committed that is the end of what no open transaction holds back.
            var ends = consumer.endOffsets(partitions);
            while (partitions.stream().anyMatch(it -> consumer.position(it) < ends.get(it))) {
                for (var record : consumer.poll(Duration.ofMillis(100))) {
                    System.out.println(record.key() + "\t" + record.value());
                }
            }
        }
    }
}
