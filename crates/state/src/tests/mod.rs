//! Tests of the crate's promises, over all stores and through files.

mod damage;
mod merging;
mod model;
mod readable;
mod reading;
mod types;
