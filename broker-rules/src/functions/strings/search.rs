//! Finding and replacing in strings.

use memchr::memmem;

use crate::error::RowError;
use crate::functions::{Call, Function};
use crate::value::Value;

pub(super) fn list() -> Vec<Function> {
    let f = Function::new;
    vec![
        f(
            "find",
            2..=3,
            "find(s, sub[, which])",
            "The rest of `s` from the first `sub` on, or from the last with `which` `trailing` (default `leading`). Empty if there is none.",
            &[
                ("find('acbcd', 'c')", "\"cbcd\""),
                ("find('acbcd', 'c', 'trailing')", "\"cd\""),
                ("find('abc', 'x')", "\"\""),
            ],
            find,
        ),
        f(
            "replace",
            3..=4,
            "replace(s, find, by[, which])",
            "With `by` in place of `find`: of `all` (default), of the first (`leading`) or of the last (`trailing`).",
            &[
                ("replace('abab', 'b', 'x')", "\"axax\""),
                ("replace('abab', 'b', 'x', 'trailing')", "\"abax\""),
                ("replace('ab', '', 'x')", "\"ab\""),
            ],
            replace,
        ),
        f(
            "rm_prefix",
            2..=2,
            "rm_prefix(s, prefix)",
            "Without a prefix, if it is there.",
            &[("rm_prefix('t/a', 't/')", "\"a\""), ("rm_prefix('a', 't/')", "\"a\"")],
            rm_prefix,
        ),
    ]
}

fn find(call: &mut Call<'_>) -> Result<Value, RowError> {
    let which = call.one_of(2, "leading", &["leading", "trailing"])?;
    let (text, wanted) = (call.string(0)?, call.string(1)?);
    let at = match which {
        "leading" => memmem::find(text, wanted),
        _ => memmem::rfind(text, wanted),
    };
    Ok(Value::Str(text.slice(at.unwrap_or(text.len())..)))
}

fn replace(call: &mut Call<'_>) -> Result<Value, RowError> {
    let which = call.one_of(3, "all", &["all", "leading", "trailing"])?;
    let (text, wanted, by) = (call.string(0)?, call.string(1)?, call.string(2)?);
    if wanted.is_empty() {
        return Ok(Value::Str(text.clone()));
    }
    let mut out = call.out();
    let mut rest = &text[..];
    if which == "trailing" {
        if let Some(at) = memmem::rfind(rest, wanted) {
            out.push(&rest[..at])?;
            out.push(by)?;
            rest = &rest[at + wanted.len()..];
        }
        out.push(rest)?;
        return Ok(out.done());
    }
    let finder = memmem::Finder::new(wanted);
    while let Some(at) = finder.find(rest) {
        out.push(&rest[..at])?;
        out.push(by)?;
        rest = &rest[at + wanted.len()..];
        if which == "leading" {
            break;
        }
    }
    out.push(rest)?;
    Ok(out.done())
}

fn rm_prefix(call: &mut Call<'_>) -> Result<Value, RowError> {
    let (text, prefix) = (call.string(0)?, call.string(1)?);
    Ok(Value::Str(match text.strip_prefix(&prefix[..]) {
        Some(rest) => text.slice_ref(rest),
        None => text.clone(),
    }))
}
