//! The word count, built with the feature that breaks a guarantee on purpose when `TIDEGATE_SABOTAGE` says so.

#[path = "word_count/main.rs"]
mod word_count;

fn main() {
    word_count::main();
}
