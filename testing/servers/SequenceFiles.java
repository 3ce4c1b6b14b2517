import java.util.Arrays;
import java.util.TreeMap;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.io.BooleanWritable;
import org.apache.hadoop.io.ByteWritable;
import org.apache.hadoop.io.BytesWritable;
import org.apache.hadoop.io.DoubleWritable;
import org.apache.hadoop.io.FloatWritable;
import org.apache.hadoop.io.IntWritable;
import org.apache.hadoop.io.LongWritable;
import org.apache.hadoop.io.NullWritable;
import org.apache.hadoop.io.SequenceFile;
import org.apache.hadoop.io.SequenceFile.CompressionType;
import org.apache.hadoop.io.ShortWritable;
import org.apache.hadoop.io.Text;
import org.apache.hadoop.io.Writable;
import org.apache.hadoop.io.compress.DefaultCodec;
import org.apache.hadoop.util.ReflectionUtils;

/** Reads SequenceFiles and writes them, with Hadoop's own classes. */
public class SequenceFiles {
    private static final Configuration CONF = new Configuration();

    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("read")) {
            for (String file : Arrays.copyOfRange(arguments, 1, arguments.length)) {
                read(new Path("file://" + file));
            }
        } else {
            for (var compression : CompressionType.values()) {
                String folder = "file://" + arguments[1] + "/" + compression;
                write(folder + "-texts", compression, Text.class, LongWritable.class, 20_000);
                write(folder + "-numbers", compression, IntWritable.class, DoubleWritable.class, 100);
                write(folder + "-flags", compression, BooleanWritable.class, FloatWritable.class, 100);
                write(folder + "-bytes", compression, NullWritable.class, BytesWritable.class, 100);
                write(folder + "-small", compression, ByteWritable.class, ShortWritable.class, 100);
                write(folder + "-empty", compression, Text.class, NullWritable.class, 0);
            }
        }
    }

    /** A line about the file, a line a record, and a line that tells how many records four splits of the file have. */
    private static void read(Path file) throws Exception {
        long length;
        try (var reader = new SequenceFile.Reader(CONF, SequenceFile.Reader.file(file))) {
            var metadata = new TreeMap<>(reader.getMetadata().getMetadata());
            System.out.println("file " + reader.getKeyClassName() + " " + reader.getValueClassName() + " "
                    + reader.getCompressionType() + " " + reader.getCompressionCodec() + " " + metadata);
            Writable key = instance(reader.getKeyClass());
            Writable value = instance(reader.getValueClass());
            while (reader.next(key, value)) {
                System.out.println(key + "\t" + value);
            }
            length = reader.getPosition();
        }
        long records = 0;
        for (int split = 0; split < 4; split++) {
            records += recordsOf(file, length * split / 4, length * (split + 1) / 4);
        }
        System.out.println("splits " + records);
    }

    /** The records that a task of a job counts which was given a part of the file: from the first sync marker in it on. */
    private static long recordsOf(Path file, long begin, long end) throws Exception {
        try (var reader = new SequenceFile.Reader(CONF, SequenceFile.Reader.file(file))) {
            if (begin > reader.getPosition()) {
                reader.sync(begin);
            }
            boolean more = reader.getPosition() < end;
            Writable key = instance(reader.getKeyClass());
            long records = 0;
            while (more) {
                long position = reader.getPosition();
                boolean is = reader.next(key);
                more = is && !(position >= end && reader.syncSeen());
                records += more ? 1 : 0;
            }
            return records;
        }
    }

    private static Writable instance(Class<?> type) {
        return (Writable) ReflectionUtils.newInstance(type, CONF);
    }

    private static void write(String file, CompressionType compression, Class<?> key, Class<?> value, int records)
            throws Exception {
        try (var writer = SequenceFile.createWriter(
                CONF,
                SequenceFile.Writer.file(new Path(file)),
                SequenceFile.Writer.keyClass(key),
                SequenceFile.Writer.valueClass(value),
                SequenceFile.Writer.compression(compression, new DefaultCodec()))) {
            for (int n = 0; n < records; n++) {
                writer.append(of(key, n), of(value, n));
            }
        }
    }

    /** The value of a number; the tests in Rust make the same. */
    private static Writable of(Class<?> type, int n) {
        if (type == Text.class) {
            return new Text("text ä " + n);
        } else if (type == LongWritable.class) {
            return new LongWritable(((long) n << 40) * (n % 2 == 0 ? 1 : -1));
        } else if (type == IntWritable.class) {
            return new IntWritable(n * -7);
        } else if (type == DoubleWritable.class) {
            return new DoubleWritable(n * 0.5);
        } else if (type == FloatWritable.class) {
            return new FloatWritable(n * -0.25f);
        } else if (type == BooleanWritable.class) {
            return new BooleanWritable(n % 3 == 0);
        } else if (type == ByteWritable.class) {
            return new ByteWritable((byte) (n * -1));
        } else if (type == ShortWritable.class) {
            return new ShortWritable((short) (n * 300));
        } else if (type == BytesWritable.class) {
            byte[] bytes = new byte[n % 5];
            Arrays.fill(bytes, (byte) n);
            return new BytesWritable(bytes);
        }
        return NullWritable.get();
    }
}
