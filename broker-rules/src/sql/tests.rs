//! Statements as they are read and refused.

mod bounds;
mod errors;
mod generated;
mod reading;
mod traps;
