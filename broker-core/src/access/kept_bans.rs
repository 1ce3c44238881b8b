//! Bans that survive the process: settings of kind `ban`.

use crate::access::banned::{Ban, Who};
use crate::broker::Broker;
use crate::clock::Now;
use crate::settings::Saved;

const KIND: &str = "ban";

impl Broker {
    /// Puts a ban in force and keeps it.
    pub(crate) fn add_ban(&self, who: Who, ban: Ban) -> Saved {
        let who = who.canonical();
        let saved = self.put_setting(KIND, &key(&who), value(&ban).as_bytes());
        if let Some(displaced) = self.banned.add(who, ban) {
            let _ = self.remove_setting(KIND, &key(&displaced));
        }
        saved
    }

    /// Lifts a ban; `None` if there is none.
    pub(crate) fn lift_ban(&self, who: &Who) -> Option<Saved> {
        let who = who.clone().canonical();
        let saved = self.remove_setting(KIND, &key(&who));
        self.banned.remove(&who).then_some(saved)
    }

    /// Lifts some of the bans that are over. Returns true if there may be more.
    pub(crate) fn end_bans(&self, now_ms: u64) -> bool {
        let ended = self.banned.remove_ended(now_ms, ENDED_PER_PASS);
        for who in &ended {
            let _ = self.remove_setting(KIND, &key(who));
        }
        ended.len() == ENDED_PER_PASS
    }

    /// Puts the bans in force that the store had; forgets those that are over.
    pub(crate) fn restore_bans(&self, now: Now) {
        for (key, bytes) in self.settings(KIND) {
            match parse(&key, &bytes) {
                Some((who, ban)) if ban.until_ms > now.wall_ms => {
                    self.banned.add(who, ban);
                }
                _ => {
                    let _ = self.remove_setting(KIND, &key);
                }
            }
        }
    }
}

/// Bans that are over and lifted in one go.
const ENDED_PER_PASS: usize = 256;

fn key(who: &Who) -> String {
    match who {
        Who::ClientId(id) => format!("client_id {id}"),
        Who::Username(name) => format!("username {name}"),
        Who::Address(address) => format!("address {address}"),
        Who::Network(network) => format!("network {network}"),
    }
}

/// End, the lengths of the three texts, and the texts; `-` is the length of one that is missing.
fn value(ban: &Ban) -> String {
    let Ban { reason, desc, by, until_ms } = ban;
    let texts = [by, desc, reason].map(|text| text.as_deref());
    let lengths =
        texts.map(|text| text.map_or_else(|| "-".to_owned(), |text| text.len().to_string()));
    format!("{until_ms} {} {}", lengths.join(","), texts.map(Option::unwrap_or_default).concat())
}

fn parse(key: &str, value: &[u8]) -> Option<(Who, Ban)> {
    let (kind, name) = key.split_once(' ')?;
    let who = match kind {
        "client_id" => Who::ClientId(name.into()),
        "username" => Who::Username(name.into()),
        "address" => Who::Address(name.parse().ok()?),
        "network" => Who::Network(name.parse().ok()?),
        _ => return None,
    };
    let (until_ms, rest) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    let (lengths, mut texts) = rest.split_once(' ')?;
    let mut ban = Ban::until(until_ms.parse().ok()?);
    if let Ok(by_len) = lengths.parse() {
        // As it was written before there was `desc`: `by`, and all the rest is the reason.
        let (by, reason) = texts.split_at_checked(by_len)?;
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        (ban.by, ban.reason) = (text(by), text(reason));
        return Some((who, ban));
    }
    let mut lengths = lengths.split(',');
    for field in [&mut ban.by, &mut ban.desc, &mut ban.reason] {
        match lengths.next()? {
            "-" => {}
            length => {
                let (text, rest) = texts.split_at_checked(length.parse().ok()?)?;
                *field = Some(text.into());
                texts = rest;
            }
        }
    }
    (lengths.next().is_none() && texts.is_empty()).then_some((who, ban))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_reads_as_it_was_written() {
        let said = Ban {
            reason: Some("too  loud ".into()),
            desc: Some(String::new()),
            by: Some("an admin é".into()),
            until_ms: u64::MAX,
        };
        let unsaid = Ban::until(7);
        let some = Ban { by: None, ..said.clone() };
        for who in [
            Who::ClientId(" a b".into()),
            Who::Username("".into()),
            Who::at("::1").unwrap(),
            Who::at("10.0.0.0/8").unwrap(),
        ] {
            for ban in [&said, &unsaid, &some] {
                let read = parse(&key(&who), value(ban).as_bytes());
                assert_eq!(read, Some((who.clone(), ban.clone())));
            }
        }
        for value in ["1 0", "1 9 short", "1 -,- ", "1 -,-,-,- ", "1 -,-,- more", "1 -,-,9 short"] {
            assert_eq!(parse("username u", value.as_bytes()), None, "{value}");
        }
        assert_eq!(parse("address x", b"1 0 "), None);
        assert_eq!(parse("network 10.0.0.0", b"1 0 ").map(|_| ()), Some(()));
    }

    #[test]
    fn a_ban_reads_as_it_was_written_before_there_was_desc() {
        let ban = |by: Option<&str>, reason: Option<&str>| {
            let text = |text: Option<&str>| text.map(str::to_owned);
            Some(Ban { by: text(by), reason: text(reason), ..Ban::until(7) })
        };
        let read = |value: &str| parse("username u", value.as_bytes()).map(|(_, ban)| ban);
        assert_eq!(read("7 2 ophi ho"), ban(Some("op"), Some("hi ho")));
        assert_eq!(read("7 0 "), ban(None, None));
    }
}
