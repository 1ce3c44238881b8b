//! Arrays: their items and parts.

use super::{Call, Function};
use crate::error::RowError;
use crate::value::{Value, compare};

pub(super) fn list() -> Vec<Function> {
    let f = Function::new;
    vec![
        f(
            "nth",
            2..=2,
            "nth(n, list)",
            "Item `n`, from 1 on.",
            &[
                ("nth(2, json_decode('[5,6]'))", "6"),
                ("nth(3, json_decode('[5,6]'))", "error: nth: argument 1: the array has 2 items"),
            ],
            nth,
        ),
        f(
            "length",
            1..=1,
            "length(list)",
            "How many items there are.",
            &[("length(json_decode('[5,6]'))", "2")],
            |c| Ok(Value::Int(i64::try_from(c.array(0)?.len()).unwrap_or(i64::MAX))),
        ),
        f(
            "sublist",
            2..=3,
            "sublist([start,] len, list)",
            "At most `len` items from item `start` on, from 1 on, which is also the default.",
            &[
                ("sublist(2, json_decode('[1,2,3]'))", "[1,2]"),
                ("sublist(2, 9, json_decode('[1,2,3]'))", "[2,3]"),
                ("sublist(9, 1, json_decode('[1,2,3]'))", "[]"),
            ],
            sublist,
        ),
        f(
            "first",
            1..=1,
            "first(list)",
            "The first item.",
            &[
                ("first(json_decode('[1,2]'))", "1"),
                ("first(json_decode('[]'))", "error: first: argument 1: the array is empty"),
            ],
            |c| end(c, <[Value]>::first),
        ),
        f(
            "last",
            1..=1,
            "last(list)",
            "The last item.",
            &[("last(json_decode('[1,2]'))", "2")],
            |c| end(c, <[Value]>::last),
        ),
        f(
            "contains",
            2..=2,
            "contains(x, list)",
            "Whether an item has the same type and the same value, as in `IN`.",
            &[
                ("contains(1, json_decode('[1,2]'))", "true"),
                ("contains(1.0, json_decode('[1,2]'))", "false"),
            ],
            contains,
        ),
    ]
}

fn nth(call: &mut Call<'_>) -> Result<Value, RowError> {
    let (at, items) = (call.int(0)?, call.array(1)?);
    let item = usize::try_from(at).ok().and_then(|at| items.get(at.checked_sub(1)?));
    item.cloned()
        .ok_or_else(|| RowError::new(format!("argument 1: the array has {} items", items.len())))
}

fn sublist(call: &mut Call<'_>) -> Result<Value, RowError> {
    let (start, len_at, list_at) = if call.has(2) { (call.int(0)?, 1, 2) } else { (1, 0, 1) };
    let (len, items) = (call.count(len_at)?, call.array(list_at)?);
    if start < 1 {
        return Err(RowError::new("argument 1: expected 1 or more"));
    }
    let from = usize::try_from(start - 1).unwrap_or(usize::MAX).min(items.len());
    let to = from.saturating_add(len).min(items.len());
    call.env.charge_steps((to - from) as u64 / 16)?;
    call.new_array(items[from..to].to_vec())
}

fn end(call: &Call<'_>, which: fn(&[Value]) -> Option<&Value>) -> Result<Value, RowError> {
    which(call.array(0)?).cloned().ok_or_else(|| RowError::new("argument 1: the array is empty"))
}

fn contains(call: &mut Call<'_>) -> Result<Value, RowError> {
    let (wanted, items) = (call.arg(0), call.array(1)?);
    call.env.check_depth(call.arg(1), usize::MAX)?;
    Ok(Value::Bool(items.iter().any(|item| compare::exact_eq(item, wanted))))
}
