//! One module per command; each has its flags and a `run`.

pub(crate) mod bench;
pub(crate) mod publish;
pub(crate) mod store;
pub(crate) mod subscribe;
