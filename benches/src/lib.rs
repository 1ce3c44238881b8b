//! Nothing but a home for the benches beside it.
