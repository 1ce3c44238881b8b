//! Nothing but a home for the benches beside it.

#![forbid(unsafe_code)]
