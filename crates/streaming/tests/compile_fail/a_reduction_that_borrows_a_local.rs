use tidegate::DStream;

fn job(pairs: DStream<(String, u64)>) {
    let most = 100;
    pairs.reduce_by_key(|a, b| (a + b).min(most)).print().unwrap();
}

fn main() {}
