package tidegate;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.spark.SparkConf;
import org.apache.spark.api.java.Optional;
import org.apache.spark.streaming.Durations;
import org.apache.spark.streaming.State;
import org.apache.spark.streaming.StateSpec;
import org.apache.spark.streaming.api.java.JavaDStream;
import org.apache.spark.streaming.api.java.JavaInputDStream;
import org.apache.spark.streaming.api.java.JavaPairDStream;
import org.apache.spark.streaming.api.java.JavaStreamingContext;
import org.apache.spark.streaming.kafka010.CanCommitOffsets;
import org.apache.spark.streaming.kafka010.ConsumerStrategies;
import org.apache.spark.streaming.kafka010.HasOffsetRanges;
import org.apache.spark.streaming.kafka010.KafkaUtils;
import org.apache.spark.streaming.kafka010.LocationStrategies;
import org.apache.spark.streaming.kafka010.OffsetRange;
import org.apache.spark.streaming.scheduler.StreamingListener;
import org.apache.spark.streaming.scheduler.StreamingListenerBatchStarted;
import scala.Tuple2;

/**
 * The word count of Tidegate's example `word_count` as a Spark Streaming job: direct stream, sum within the batch, running
 * totals in mapWithState under a checkpoint, changed totals collected into a table, offsets committed.
 *
 * Arguments: brokers, topic, records to read, records a second and partition (0: no limit), interval in ms, scratch directory.
 * Prints one JSON line. Its seconds run from the start of the first batch's processing to the last total in the table, so the
 * JVM's and the context's start are left out and the compiler's warming up is not.
 */
public final class SparkPeer {
  /** What each planned batch reads. Kept by batch time, since later batches are planned before an earlier one's output. */
  private static final Map<Long, OffsetRange[]> RANGES = new ConcurrentHashMap<>();
  /** Local mode: tasks and driver share this JVM, and outputs run one after the other. */
  private static final Map<String, Long> TABLE = new HashMap<>();
  private static final AtomicLong FIRST_START_MS = new AtomicLong();
  private static final AtomicLong LAST_END_MS = new AtomicLong();
  private static final AtomicInteger BATCHES = new AtomicInteger();
  private static final CountDownLatch DONE = new CountDownLatch(1);

  public static void main(String[] arguments) throws Exception {
    if (arguments.length != 6) {
      throw new IllegalArgumentException("BROKERS TOPIC RECORDS RATE INTERVAL_MS DIRECTORY");
    }
    long records = Long.parseLong(arguments[2]);
    long rate = Long.parseLong(arguments[3]);
    long intervalMs = Long.parseLong(arguments[4]);
    Path scratch = Path.of(arguments[5]);

    SparkConf conf = new SparkConf()
        .setMaster("local[2]").setAppName("word count")
        .set("spark.ui.enabled", "false")
        .set("spark.driver.host", "127.0.0.1").set("spark.driver.bindAddress", "127.0.0.1")
        .set("spark.local.dir", scratch.resolve("local").toString());
    if (rate > 0) conf.set("spark.streaming.kafka.maxRatePerPartition", Long.toString(rate));
    JavaStreamingContext context = new JavaStreamingContext(conf, Durations.milliseconds(intervalMs));
    context.checkpoint(scratch.resolve("checkpoint").toString());
    defineJob(context, arguments[0], arguments[1], records);
    context.addStreamingListener(new StreamingListener() {
      @Override
      public void onBatchStarted(StreamingListenerBatchStarted started) {
        FIRST_START_MS.compareAndSet(0, (Long) started.batchInfo().processingStartTime().get());
      }
    });
    context.start();
    DONE.await();
    // The listener's thread runs behind; the first batch's start may still be on its way when there was only one batch.
    while (FIRST_START_MS.get() == 0) Thread.sleep(5);
    System.out.println(figures(context.sparkContext().version(), records));
    System.out.flush();
    // An orderly stop takes seconds and adds nothing.
    Runtime.getRuntime().halt(0);
  }

  private static void defineJob(JavaStreamingContext context, String brokers, String topic, long records) {
    Map<String, Object> kafka = new HashMap<>();
    kafka.put("bootstrap.servers", brokers);
    kafka.put("key.deserializer", ByteArrayDeserializer.class);
    kafka.put("value.deserializer", StringDeserializer.class);
    kafka.put("group.id", "spark-" + System.nanoTime());
    kafka.put("auto.offset.reset", "earliest");
    kafka.put("enable.auto.commit", false);
    JavaInputDStream<ConsumerRecord<byte[], String>> input = KafkaUtils.createDirectStream(
        context, LocationStrategies.PreferConsistent(), ConsumerStrategies.Subscribe(List.of(topic), kafka));
    JavaDStream<String> words = input.transform((rdd, time) -> {
      RANGES.put(time.milliseconds(), ((HasOffsetRanges) rdd.rdd()).offsetRanges());
      return rdd.flatMap(record -> Arrays.asList(record.value().split(" ")).iterator());
    });
    JavaPairDStream<String, Long> counts = words.mapToPair(word -> new Tuple2<>(word, 1L)).reduceByKey(Long::sum);
    counts.mapWithState(StateSpec.function(SparkPeer::runningTotal)).foreachRDD((rdd, time) -> {
      for (Tuple2<String, Long> row : rdd.collect()) TABLE.put(row._1, row._2);
      OffsetRange[] ranges = RANGES.remove(time.milliseconds());
      ((CanCommitOffsets) input.inputDStream()).commitAsync(ranges);
      LAST_END_MS.set(System.currentTimeMillis());
      BATCHES.incrementAndGet();
      if (Arrays.stream(ranges).mapToLong(OffsetRange::untilOffset).sum() >= records) DONE.countDown();
    });
  }

  private static Tuple2<String, Long> runningTotal(String word, Optional<Long> added, State<Long> total) {
    long sum = (total.exists() ? total.get() : 0L) + added.orElse(0L);
    total.update(sum);
    return new Tuple2<>(word, sum);
  }

  private static String figures(String version, long records) throws IOException {
    long words = 0;
    long hash = 0;
    for (Map.Entry<String, Long> row : TABLE.entrySet()) {
      words += row.getValue();
      hash += fnv1a(row.getKey()) * row.getValue();
    }
    double seconds = (LAST_END_MS.get() - FIRST_START_MS.get()) / 1e3;
    return String.format(
        "{\"version\":\"%s\",\"records\":%d,\"batches\":%d,\"seconds\":%.3f,\"records_per_second\":%.0f,\"peak_rss_mib\":%.1f,"
            + "\"checksum\":{\"words\":%d,\"distinct\":%d,\"hash\":\"%016x\"}}",
        version, records, BATCHES.get(), seconds, records / seconds, peakRssMib(), words, TABLE.size(), hash);
  }

  private static double peakRssMib() throws IOException {
    for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
      if (line.startsWith("VmHWM")) return Double.parseDouble(line.replaceAll("\\D+", "")) / 1024;
    }
    return 0;
  }

  private static long fnv1a(String word) {
    long hash = 0xcbf29ce484222325L;
    for (byte letter : word.getBytes(StandardCharsets.UTF_8)) hash = (hash ^ (letter & 0xff)) * 0x100000001b3L;
    return hash;
  }
}
