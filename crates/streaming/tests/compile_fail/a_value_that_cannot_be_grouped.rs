use std::time::Instant;
use tidegate::DStream;

fn job(clicks: DStream<u64>) {
    clicks.map(|id| (id, Instant::now())).group_by_key();
}

fn main() {}
