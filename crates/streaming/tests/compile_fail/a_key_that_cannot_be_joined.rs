use tidegate::DStream;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct User(u64);

fn job(clicks: DStream<u64>) {
    let by_user = clicks.map(|id| (User(id), 1u64));
    by_user.group_by_key();
    by_user.join(&by_user);
}

fn main() {}
