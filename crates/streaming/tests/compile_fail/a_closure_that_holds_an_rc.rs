use std::rc::Rc;
use tidegate::DStream;

fn job(words: DStream<String>) {
    let prefix = Rc::new("tide".to_owned());
    words.filter(move |word| word.starts_with(prefix.as_str()));
}

fn main() {}
