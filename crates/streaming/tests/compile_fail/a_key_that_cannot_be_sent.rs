use tidegate::DStream;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct User(u64);

fn job(clicks: DStream<u64>) {
    clicks.map(|id| (User(id), 1u64)).reduce_by_key(|a, b| a + b);
}

fn main() {}
