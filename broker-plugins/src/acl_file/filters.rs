//! Filters against filters as MQTT compares them: whether one covers another, and whether they have a topic in common.

use super::rules::{Asker, Level};

/// True if every topic that `levels`, a topic or a filter, stands for is one that `wanted` matches: what allows.
pub(super) fn covers(wanted: &[Level], levels: &[&str], client: &Asker<'_>) -> bool {
    if begins_with_a_wildcard(wanted) && levels.first().is_some_and(|name| name.starts_with('$')) {
        return false;
    }
    let mut levels = levels.iter();
    for level in wanted {
        if matches!(level, Level::Rest) {
            return true;
        }
        let Some(name) = levels.next() else { return false };
        if !level.fits(name, client, true) {
            return false;
        }
    }
    levels.next().is_none()
}

/// True if some topic is matched by both: what denies, for a subscription would bring that topic too.
pub(super) fn meets(wanted: &[Level], levels: &[&str], client: &Asker<'_>) -> bool {
    let (Some(first), Some(name)) = (wanted.first(), levels.first()) else { return false };
    let is_hidden = match (first, *name) {
        (Level::Any | Level::Rest, name) => name.starts_with('$'),
        (Level::Name(name), "+" | "#") => name.starts_with('$'),
        _ => false,
    };
    if is_hidden {
        return false;
    }
    let mut rest = levels;
    for level in wanted {
        match (level, rest.split_first()) {
            // `a/#` matches `a` as well.
            (Level::Rest, _) | (_, Some((&"#", _))) => return true,
            (_, None) => return false,
            (level, Some((&name, behind))) => {
                if name != "+" && !level.fits(name, client, false) {
                    return false;
                }
                rest = behind;
            }
        }
    }
    matches!(rest, [] | ["#"])
}

fn begins_with_a_wildcard(wanted: &[Level]) -> bool {
    matches!(wanted.first(), Some(Level::Any | Level::Rest))
}
