use tidegate::DStream;

struct Line(String);

fn job(words: DStream<String>) {
    words.map(Line).count();
}

fn main() {}
