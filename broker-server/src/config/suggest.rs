//! "Did you mean": the known key that an unknown one is nearest to.

use std::collections::BTreeSet;

use super::given::dotted;
use super::table::{self, Form, Role};

/// A hint to append to the error; empty if nothing is near.
pub(crate) fn key(path: &[String]) -> String {
    let forms = || table::forms().iter().filter(|form| form.role != Role::Head);
    let near = forms()
        .filter(|form| form.parts.len() == path.len())
        .filter_map(|form| distance(form, path).map(|distance| (distance, filled(form, path))))
        .min();
    if let Some((_, near)) = near {
        return format!("; did you mean {near}?");
    }
    // The right key in the wrong table.
    let elsewhere = forms()
        .filter(|form| form.role != Role::Item && form.parts.last() == path.last())
        .max_by_key(|form| form.role == Role::Base);
    match elsewhere {
        Some(form) => format!("; did you mean {}?", form.parts.join(".")),
        None => "; --print-config shows all keys".into(),
    }
}

/// Likewise for a table.
pub(crate) fn table(path: &[String]) -> String {
    let tables: BTreeSet<_> = table::forms()
        .iter()
        .filter(|form| form.parts.len() > path.len())
        .filter_map(|form| distance(form, path).map(|distance| (distance, filled(form, path))))
        .collect();
    match tables.first() {
        Some((_, near)) => format!("; did you mean [{near}]?"),
        None => "; --print-config shows all tables".into(),
    }
}

/// How far the form's first parts are from the path; `None` if too far to be meant.
fn distance(form: &Form, path: &[String]) -> Option<usize> {
    let mut total = 0;
    for (form, part) in form.parts.iter().zip(path) {
        let distance = match form.as_str() {
            "<protocol>" => {
                let words = table::PROTOCOLS.iter().map(|(word, _)| edits(word, part));
                words.min().filter(|distance| *distance <= 1)?
            }
            form if table::is_name(form) => 0,
            form => edits(form, part),
        };
        let bearable = (part.chars().count() / 3).clamp(1, 3);
        if distance > bearable {
            return None;
        }
        total += distance;
    }
    (total <= 4).then_some(total)
}

/// The form's first parts with the names of the path.
fn filled(form: &Form, path: &[String]) -> String {
    let parts = form.parts.iter().zip(path).map(|(form, part)| match form.as_str() {
        "<protocol>" => {
            let nearest = table::PROTOCOLS.iter().min_by_key(|(word, _)| edits(word, part));
            nearest.map_or_else(|| part.clone(), |(word, _)| (*word).to_owned())
        }
        form if table::is_name(form) => part.clone(),
        form => form.to_owned(),
    });
    dotted(&parts.collect::<Vec<_>>())
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other; cases
/// count as equal.
fn edits(a: &str, b: &str) -> usize {
    let letters = |word: &str| word.to_lowercase().chars().take(LENGTH_MAX).collect::<Vec<_>>();
    let (a, b) = (letters(a), letters(b));
    let mut before = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                let before: &[usize] = &before;
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

/// Longer than any key: a file of one long word must not take long.
const LENGTH_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        assert_eq!(edits("zone", "zone"), 0);
        assert_eq!(edits("zone", "ZONE"), 0);
        assert_eq!(edits("zone", "zones"), 1);
        assert_eq!(edits("bind", "bnd"), 1);
        assert_eq!(edits("bind", ""), 4);
        assert_eq!(edits("tpc", "tcp"), 1);
    }

    fn check(path: &str, expected: &str) {
        let path: Vec<_> = path.split('.').map(str::to_owned).collect();
        assert_eq!(key(&path), expected);
    }

    #[test]
    fn the_nearest_key_is_meant() {
        check("mqtt.max_paket_size", "; did you mean mqtt.max_packet_size?");
        check("listener.tcp.lan.acceptor", "; did you mean listener.tcp.lan.acceptors?");
        check("listner.tcp.lan.bind", "; did you mean listener.tcp.lan.bind?");
        check("listener.tpc.lan.bind", "; did you mean listener.tcp.lan.bind?");
        check("max_packet_size", "; did you mean mqtt.max_packet_size?");
        check("mqtt.allow_anonymous", "; did you mean allow_anonymous?");
        check("mqtt.colour", "; --print-config shows all keys");
    }
}
