//! Bans that survive the process: settings of kind `ban`.

use crate::access::banned::{Ban, Who};
use crate::broker::Broker;
use crate::clock::Now;

const KIND: &str = "ban";

impl Broker {
    /// Puts a ban in force and keeps it.
    pub(crate) fn add_ban(&self, who: Who, ban: Ban, now_ms: u64) {
        let _ = self.put_setting(KIND, &key(&who), value(&ban).as_bytes());
        self.banned.add(who, ban, now_ms);
    }

    /// Lifts a ban. Returns false if there is none.
    pub(crate) fn lift_ban(&self, who: &Who) -> bool {
        let _ = self.remove_setting(KIND, &key(who));
        self.banned.remove(who)
    }

    /// Puts the bans in force that the store had; forgets those that are over.
    pub(crate) fn restore_bans(&self, now: Now) {
        for (key, bytes) in self.settings(KIND) {
            match parse(&key, &bytes) {
                Some((who, ban)) if ban.until_ms > now.wall_ms => {
                    self.banned.add(who, ban, now.wall_ms);
                }
                _ => {
                    let _ = self.remove_setting(KIND, &key);
                }
            }
        }
    }
}

fn key(who: &Who) -> String {
    match who {
        Who::ClientId(id) => format!("client_id {id}"),
        Who::Username(name) => format!("username {name}"),
        Who::Address(address) => format!("address {address}"),
    }
}

fn value(ban: &Ban) -> String {
    let Ban { reason, by, until_ms } = ban;
    format!("{until_ms} {} {by}{reason}", by.len())
}

fn parse(key: &str, value: &[u8]) -> Option<(Who, Ban)> {
    let (kind, name) = key.split_once(' ')?;
    let who = match kind {
        "client_id" => Who::ClientId(name.into()),
        "username" => Who::Username(name.into()),
        "address" => Who::Address(name.parse().ok()?),
        _ => return None,
    };
    let (until_ms, rest) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    let (by_len, rest) = rest.split_once(' ')?;
    let (by, reason) = rest.split_at_checked(by_len.parse().ok()?)?;
    let until_ms = until_ms.parse().ok()?;
    Some((who, Ban { reason: reason.into(), by: by.into(), until_ms }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_reads_as_it_was_written() {
        let ban = Ban { reason: "too  loud ".into(), by: "an admin é".into(), until_ms: u64::MAX };
        for who in [
            Who::ClientId(" a b".into()),
            Who::Username("".into()),
            Who::Address("::1".parse().unwrap()),
        ] {
            let read = parse(&key(&who), value(&ban).as_bytes());
            assert_eq!(read, Some((who, ban.clone())));
        }
        assert_eq!(parse("address x", b"1 0 "), None);
        assert_eq!(parse("username u", b"1 9 short"), None);
    }
}
