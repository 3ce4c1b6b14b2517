use tidegate::DStream;

fn job(words: DStream<String>) {
    words.reduce_by_key_with_partitions(|a, b| a + b, 3);
}

fn main() {}
