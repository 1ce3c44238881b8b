//! Built-in sources of authentication.

pub(crate) mod scram;
