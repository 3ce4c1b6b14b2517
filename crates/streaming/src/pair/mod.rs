//! Operators on streams of pairs, by subject; the same on datasets of pairs.
//!
//! Bounds stand on each method: the compiler then says which one a type lacks, and how to mend it.

mod group;
mod join;
mod rdd;
mod reduce;
mod values;
