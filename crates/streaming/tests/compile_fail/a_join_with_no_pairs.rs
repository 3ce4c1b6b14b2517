use tidegate::DStream;

fn job(words: DStream<String>, counts: DStream<(String, u64)>) {
    counts.join(&words);
    words.left_outer_join(&counts);
}

fn main() {}
