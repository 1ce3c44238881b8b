//! Regular expressions that run in linear time, compiled once per rule.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;
use regex::bytes::{Captures, Regex, RegexBuilder};

use super::out::Out;
use super::{Call, Function};
use crate::error::RowError;
use crate::limits::Limits;
use crate::value::Value;

pub(super) fn list() -> Vec<Function> {
    let f = |name, arity, signature, help, examples, call| {
        Function::new(name, arity, signature, help, examples, call).checked(check)
    };
    vec![
        f(
            "regex_match",
            2..=2,
            "regex_match(s, re)",
            "Whether the expression matches anywhere in `s`. Back-references and look-around are refused.",
            &[
                ("regex_match('abc123', '\\d+$')", "true"),
                ("regex_match('abc', '^b')", "false"),
                (
                    "regex_match('aa', '(a)\\1')",
                    "error: regex_match: argument 2: not a regular expression: backreferences are not supported",
                ),
            ],
            |c| {
                let re = regex(c)?;
                Ok(Value::Bool(re.is_match(c.string(0)?)))
            },
        ),
        f(
            "regex_replace",
            3..=3,
            "regex_replace(s, re, by)",
            "With `by` in place of all matches. There, `&` is the match, `\\1` a group of it, and `\\&` a plain `&`.",
            &[
                ("regex_replace('accbcd', 'c+', '[&]')", "\"a[cc]b[c]d\""),
                ("regex_replace('k=v', '(.)=(.)', '\\2=\\1')", "\"v=k\""),
                ("regex_replace('a', 'a', '\\&')", "\"&\""),
            ],
            replace,
        ),
        f(
            "regex_extract",
            2..=2,
            "regex_extract(s, re)",
            "The groups of the first match as an array, empty if there is none.",
            &[
                ("regex_extract('2024-05', '(\\d+)-(\\d+)')", "[\"2024\",\"05\"]"),
                ("regex_extract('x', '(\\d+)')", "[]"),
            ],
            extract,
        ),
    ]
}

/// The compiled regular expressions of a rule: those that it used last.
#[derive(Debug, Default)]
pub struct Patterns(Mutex<VecDeque<(Bytes, Regex)>>);

impl Patterns {
    /// How many are remembered.
    const MAX: usize = 64;

    fn find(&self, pattern: &Bytes) -> Option<Regex> {
        let mut known = self.0.lock();
        let at = known.iter().position(|(known, _)| known == pattern)?;
        // Those that are used often come to stand in front.
        if at > 0 {
            known.swap(at, at - 1);
        }
        Some(known[at.saturating_sub(1)].1.clone())
    }

    fn keep(&self, pattern: &[u8], regex: Regex) {
        let mut known = self.0.lock();
        if known.len() >= Self::MAX {
            known.pop_back();
        }
        // Copied: a slice would keep the whole of a message.
        known.push_back((Bytes::copy_from_slice(pattern), regex));
    }
}

fn check(args: &[Option<&Value>], limits: &Limits) -> Result<(), RowError> {
    match args.get(1) {
        Some(Some(Value::Str(pattern))) => compile(pattern, limits).map(drop),
        _ => Ok(()),
    }
}

fn regex(call: &Call<'_>) -> Result<Regex, RowError> {
    let pattern = call.string(1)?;
    if let Some(regex) = call.env.patterns.find(pattern) {
        return Ok(regex);
    }
    let regex = compile(pattern, call.env.limits)?;
    // A pattern that each message brings anew is the dearest thing that a statement can do.
    call.env.charge_steps(1000 + 100 * pattern.len() as u64)?;
    call.env.patterns.keep(pattern, regex.clone());
    Ok(regex)
}

fn compile(pattern: &[u8], limits: &Limits) -> Result<Regex, RowError> {
    let refused =
        |cause: &str| RowError::new(format!("argument 2: not a regular expression: {cause}"));
    if pattern.len() > limits.max_regex_bytes {
        return Err(RowError::new("argument 2: the expression is longer than max_regex_bytes"));
    }
    let pattern = std::str::from_utf8(pattern).map_err(|_| refused("it is not UTF-8"))?;
    RegexBuilder::new(pattern)
        .size_limit(limits.max_compiled_regex_bytes)
        .dfa_size_limit(limits.max_compiled_regex_bytes)
        .nest_limit(100)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => refused("it is too large when it is compiled"),
            // The last line says what is wrong, those above show the pattern.
            error => {
                let text = error.to_string();
                let cause = text.lines().last().unwrap_or_default();
                let cause = cause.strip_prefix("error: ").unwrap_or(cause);
                refused(cause.split_once(", including").map_or(cause, |(what, _)| what))
            }
        })
}

fn replace(call: &mut Call<'_>) -> Result<Value, RowError> {
    let regex = regex(call)?;
    let (text, by) = (call.string(0)?, call.string(2)?);
    let mut out = call.out();
    let mut end = 0;
    for captures in regex.captures_iter(text) {
        let Some(whole) = captures.get(0) else { continue };
        out.push(&text[end..whole.start()])?;
        put(&mut out, by, &captures)?;
        end = whole.end();
    }
    out.push(&text[end..])?;
    Ok(out.done())
}

/// Appends a replacement. A group that there is not, or that did not take part, is empty.
fn put(out: &mut Out, by: &[u8], captures: &Captures<'_>) -> Result<(), RowError> {
    let group = |at: usize| captures.get(at).map_or(&b""[..], |group| group.as_bytes());
    let mut rest = by;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'&' | b'\\')) {
        out.push(&rest[..at])?;
        let (mark, behind) = (rest[at], &rest[at + 1..]);
        rest = behind;
        if mark == b'&' {
            out.push(group(0))?;
            continue;
        }
        match behind.first() {
            Some(digit @ b'0'..=b'9') => {
                out.push(group(usize::from(digit - b'0')))?;
                rest = &behind[1..];
            }
            Some(plain @ (b'&' | b'\\')) => {
                out.push(&[*plain])?;
                rest = &behind[1..];
            }
            _ => out.push(b"\\")?,
        }
    }
    out.push(rest)
}

fn extract(call: &mut Call<'_>) -> Result<Value, RowError> {
    let regex = regex(call)?;
    let text = call.string(0)?;
    let groups = regex.captures(text).map(|captures| {
        let group = |group: Option<regex::bytes::Match<'_>>| match group {
            Some(group) => Value::Str(text.slice(group.range())),
            None => Value::text(""),
        };
        captures.iter().skip(1).map(group).collect()
    });
    call.new_array(groups.unwrap_or_default())
}

#[cfg(test)]
mod tests;
