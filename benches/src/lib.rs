//! What the benchmark and its hand-written peers have in common.

mod answer;
mod numbers;
mod quantiles;
mod rss;
mod stopwatch;

pub use answer::{Failure, answer};
pub use numbers::Numbers;
pub use quantiles::Quantiles;
pub use rss::peak_rss_mib;
pub use stopwatch::Stopwatch;
