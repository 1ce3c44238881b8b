//! Bits of integers.

use super::math::beyond_64_bits;
use super::{Call, Function};
use crate::error::RowError;
use crate::value::Value;

pub(super) fn list() -> Vec<Function> {
    let f = Function::new;
    vec![
        f("bitnot", 1..=1, "bitnot(a)", "Every bit turned over.", &[("bitnot(5)", "-6")], |c| {
            Ok(Value::Int(!c.int(0)?))
        }),
        f(
            "bitand",
            2..=2,
            "bitand(a, b)",
            "The bits that both have.",
            &[("bitand(12, 10)", "8")],
            |c| Ok(Value::Int(c.int(0)? & c.int(1)?)),
        ),
        f(
            "bitor",
            2..=2,
            "bitor(a, b)",
            "The bits that one of them has.",
            &[("bitor(12, 10)", "14")],
            |c| Ok(Value::Int(c.int(0)? | c.int(1)?)),
        ),
        f(
            "bitxor",
            2..=2,
            "bitxor(a, b)",
            "The bits that just one of them has.",
            &[("bitxor(12, 10)", "6")],
            |c| Ok(Value::Int(c.int(0)? ^ c.int(1)?)),
        ),
        f(
            "bitsl",
            2..=2,
            "bitsl(a, n)",
            "`a` shifted to the left by `n` bits, of which none may be lost. A negative `n` shifts to the right.",
            &[
                ("bitsl(1, 4)", "16"),
                ("bitsl(16, -4)", "1"),
                ("bitsl(1, 63)", "error: bitsl: the result is not an integer of 64 bits"),
            ],
            bitsl,
        ),
        f(
            "bitsr",
            2..=2,
            "bitsr(a, n)",
            "`a` shifted to the right by `n` bits, with its sign. A negative `n` shifts to the left.",
            &[("bitsr(-8, 1)", "-4"), ("bitsr(-8, 100)", "-1")],
            bitsr,
        ),
    ]
}

fn bitsl(call: &mut Call<'_>) -> Result<Value, RowError> {
    let (bits, count) = (call.int(0)?, call.int(1)?);
    if count < 0 { Ok(right(bits, count.unsigned_abs())) } else { left(bits, count.unsigned_abs()) }
}

fn bitsr(call: &mut Call<'_>) -> Result<Value, RowError> {
    let (bits, count) = (call.int(0)?, call.int(1)?);
    if count < 0 { left(bits, count.unsigned_abs()) } else { Ok(right(bits, count.unsigned_abs())) }
}

fn left(bits: i64, count: u64) -> Result<Value, RowError> {
    if bits == 0 {
        return Ok(Value::Int(0));
    }
    if count > 63 {
        return Err(beyond_64_bits());
    }
    let shifted = bits << count;
    if shifted >> count == bits { Ok(Value::Int(shifted)) } else { Err(beyond_64_bits()) }
}

fn right(bits: i64, count: u64) -> Value {
    Value::Int(bits >> count.min(63))
}
