//! Chance: random numbers and identifiers.

use super::{Call, Function, Reads};
use crate::value::Value;

pub(super) fn list() -> Vec<Function> {
    let f = |name, arity, signature, help, examples, call| {
        Function::new(name, arity, signature, help, examples, call).reads(Reads::World)
    };
    vec![
        f(
            "random",
            0..=0,
            "random()",
            "A random float, from 0 to below 1.",
            &[("is_float(random())", "true"), ("floor(random())", "0")],
            |c| Ok(Value::Float(random(c))),
        ),
        f(
            "uuid_v4",
            0..=0,
            "uuid_v4()",
            "A random UUID.",
            &[(
                "regex_match(uuid_v4(), '^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$')",
                "true",
            )],
            |c| Ok(Value::text(&uuid(c))),
        ),
        f(
            "uuid_v4_no_hyphen",
            0..=0,
            "uuid_v4_no_hyphen()",
            "A random UUID without its hyphens.",
            &[("strlen(uuid_v4_no_hyphen())", "32")],
            |c| Ok(Value::text(&uuid(c).replace('-', ""))),
        ),
    ]
}

fn random(call: &Call<'_>) -> f64 {
    let mut bytes = [0; 8];
    (call.env.random)(&mut bytes);
    // As many bits as a float has.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let bits = (u64::from_le_bytes(bytes) >> 11) as f64;
    bits / (1_u64 << 53) as f64
}

fn uuid(call: &Call<'_>) -> String {
    let mut bytes = [0; 16];
    (call.env.random)(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let all = u128::from_be_bytes(bytes);
    let text = format!("{all:032x}");
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}
