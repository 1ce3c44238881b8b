//! Subscriptions of a made-up plant: one filter in ten has a wildcard.

/// The nth filter; they are all distinct.
#[must_use]
pub fn filter(n: u64) -> String {
    let (site, line, sensor) = place(n);
    match n % 20 {
        9 => format!("plant{site}/+/sensor{sensor}/temperature"),
        19 => format!("plant{site}/line{line}/sensor{sensor}/#"),
        _ => topic(n),
    }
}

/// A topic that the nth filter matches.
#[must_use]
pub fn topic(n: u64) -> String {
    let (site, line, sensor) = place(n);
    format!("plant{site}/line{line}/sensor{sensor}/temperature")
}

/// A thousand sites of a hundred lines each.
fn place(n: u64) -> (u64, u64, u64) {
    (n % 997, n / 997 % 100, n)
}
