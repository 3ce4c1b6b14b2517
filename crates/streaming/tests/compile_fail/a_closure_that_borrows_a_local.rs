use tidegate::DStream;

fn job(numbers: DStream<i64>) {
    let offset = 7;
    numbers.map(|n| n + offset).print().unwrap();
}

fn main() {}
