//! What the benchmark and its hand-written peers have in common.

mod quantiles;
mod rss;

pub use quantiles::Quantiles;
pub use rss::peak_rss_mib;
