//! The log against torn tails, damage, and what a crash leaves on either medium.
