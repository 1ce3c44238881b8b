//! The table of all functions, and how one is found in it.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use super::{Call, Function, Reads};
use super::{
    arrays, bits, compression, encodings, hashes, kv_store, maps, math, message, other, regexes,
    sprintf, strings, subbits, time, types_of,
};
use crate::error::RowError;
use crate::limits::Limits;
use crate::value::Value;

/// All functions, in the order of their names.
#[must_use]
pub fn all() -> &'static [Function] {
    &TABLE
}

/// The function of a name. A name that is not known is tried once more in lower case.
#[must_use]
pub fn find(name: &str) -> Option<&'static Function> {
    let exact = |name: &str| {
        TABLE.binary_search_by(|function| function.name.cmp(name)).ok().map(|at| &TABLE[at])
    };
    exact(name).or_else(|| exact(&name.to_ascii_lowercase()))
}

impl Function {
    /// A function of its arguments alone.
    pub(super) fn new(
        name: &'static str,
        arity: RangeInclusive<usize>,
        signature: &'static str,
        help: &'static str,
        examples: &'static [(&'static str, &'static str)],
        call: fn(&mut Call<'_>) -> Result<Value, RowError>,
    ) -> Self {
        let reads = Reads::Arguments;
        Self { name, group: "", arity, signature, help, examples, reads, call, check: None }
    }

    pub(super) fn reads(self, reads: Reads) -> Self {
        Self { reads, ..self }
    }

    pub(super) fn checked(
        self,
        check: fn(&[Option<&Value>], &Limits) -> Result<(), RowError>,
    ) -> Self {
        Self { check: Some(check), ..self }
    }
}

static TABLE: LazyLock<Vec<Function>> = LazyLock::new(|| {
    let groups = [
        ("Message and client", message::list()),
        ("Math", math::list()),
        ("Bits", bits::list()),
        ("Bits", subbits::list()),
        ("Strings", strings::list()),
        ("Strings", sprintf::list()),
        ("Regular expressions", regexes::list()),
        ("Types", types_of::list()),
        ("Maps", maps::list()),
        ("Arrays", arrays::list()),
        ("Hashes", hashes::list()),
        ("Encodings", encodings::list()),
        ("Encodings", compression::list()),
        ("Time", time::list()),
        ("Key-value store", kv_store::list()),
        ("Other", other::list()),
    ];
    let in_group =
        |(group, list): (_, Vec<Function>)| list.into_iter().map(move |f| Function { group, ..f });
    let mut table: Vec<_> = groups.into_iter().flat_map(in_group).collect();
    table.sort_by_key(|function| function.name);
    table
});
