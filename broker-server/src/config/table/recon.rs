//! Keys of `emqx_recon`: `[recon]`.

use super::super::field::Field;
use super::super::value::Kind;
use super::root::key;
use super::{Access, Key, field};

pub(super) static KEYS: &[Key] = &[key(
    "recon.gc_interval",
    Kind::Duration(1_000, 86_400_000),
    field!(recon.gc_interval_ms),
    "How often emqx_recon gives back memory that is held for messages and clients that are gone.",
)];
