//! Reception: a client gets a message, and somebody must have promised it.

use broker_codec::{QoS, topic};

use super::{Connected, Grant, Model, ids, publisher_of};
use crate::rig::Q2;

/// A PUBLISH as its client sees it.
pub struct Reception<'a> {
    pub topic: &'a str,
    pub payload: &'a str,
    pub qos: QoS,
    pub dup: bool,
    pub retain: bool,
    /// The client had it before and knows that.
    pub is_resent: bool,
    pub expiry_s: Option<u32>,
    pub identifiers: Vec<u32>,
}

impl Model {
    /// A client has received a message.
    pub fn received(&mut self, id: &str, conn: usize, r: &Reception<'_>) {
        self.n_received += 1;
        let what = format!("{id}: {} on {} at QoS {}", r.payload.trim_end(), r.topic, r.qos);
        if self.is_traced {
            let (dup, resent, retain) = (r.dup, r.is_resent, r.retain);
            eprintln!("{what} received in {conn} dup={dup} resent={resent} retain={retain}");
        }
        if r.payload.is_empty() {
            return;
        }
        let now = self.now;
        let (_, first, last) = self.routings.get(r.payload).copied().unwrap_or_default();
        let retention = self.retentions.get(r.payload);
        let Some(Connected { incarnation, life, .. }) = self.connections.get(&conn) else { return };
        let current = self.sessions.get_mut(id).map(|session| (id, session));
        let past = self.past.iter_mut().map(|(id, session)| (id.as_str(), session));
        // One that is over may come back, if a crash undoes its end; what it sent was received all the same.
        let mut all = current.into_iter().chain(past);
        let session = all.find(|(of, session)| *of == id && session.incarnation == *incarnation);
        // The leftovers of a session that has ended for good are nobody's.
        let Some((_, session)) = session else { return };
        if session.expected.get(r.payload).is_none_or(|e| e.shared == 0)
            && self.shares.iter().any(|share| {
                share.payload == r.payload && session.ever_shared.contains(&share.filter)
            })
        {
            if !r.is_resent {
                *self.handed_on.entry(r.payload.to_owned()).or_insert(0) += 1;
            }
            return;
        }
        // Copies with RETAIN may be live ones of a subscription that keeps the flag, or those that a
        // SUBSCRIBE asked for: nothing tells them apart, so they are counted together.
        let grants = retention.map_or(0, |retention| {
            assert_eq!(retention.topic, r.topic, "{what}");
            assert!(r.qos <= retention.qos, "{what}: published at {}", retention.qos);
            let is_owed = |grant: &&Grant| {
                topic::matches(&grant.filter, r.topic) && retention.until > grant.since
            };
            if r.retain { session.grants.iter().filter(is_owed).count() } else { 0 }
        });
        let flag = usize::from(r.retain);
        let e = session.expected.entry(r.payload.to_owned()).or_default();
        // Below QoS 2 each may come again after a crash.
        let most = e.plain[flag] + e.spare[flag] + grants * (1 + session.crashes);
        let most_once = e.plain[flag] + e.spare[flag] + grants;
        let is_shared = e.shared > 0;
        e.was_copied |= grants > 0;
        assert!(is_shared || most > 0, "{what} with RETAIN {}: nobody asked for it", r.retain);
        if grants == 0 && !is_shared {
            assert!(e.qos.contains(&r.qos), "{what}: {:?}", e.qos);
            let is_finished = e.finished_in.is_some_and(|finished| *life >= finished);
            assert!(
                !is_finished || e.routings.len() > 1,
                "{what}: its acknowledgement was on the disk"
            );
        }
        if session.version.is_v5() {
            let got = ids(&r.identifiers);
            let is_right = is_shared || grants > 0 || e.identifiers.contains(&got);
            assert!(is_right, "{what}: {got:?} of {:?}", e.identifiers);
            assert!(grants > 0 || r.expiry_s.is_some() == e.expiry_s.is_some(), "{what}: expiry");
        }
        if let (Some(left_s), Some(at), Some(all_s)) = (r.expiry_s, e.expires_at_ms, e.expiry_s) {
            let left = at.saturating_sub(now.wall_ms).div_ceil(1000);
            // A share, or a retained copy, may be of an earlier publication.
            let at_least = if is_shared || grants > 0 { 0 } else { left };
            assert!(
                (at_least..=u64::from(all_s)).contains(&u64::from(left_s)),
                "{what}: expiry {left_s} of {all_s}, at least {at_least}"
            );
        }
        if r.is_resent {
            return;
        }
        e.got[flag] += 1;
        e.got_once[flag] += usize::from(r.qos == Q2);
        // Of shares the sum over all members counts, in the end.
        if !is_shared {
            let (got, once) = (e.got[flag], e.got_once[flag]);
            assert!(got <= most, "{what} with RETAIN {}: {got} times of {most}", r.retain);
            let what = format!("{what} with RETAIN {}", r.retain);
            assert!(once <= most_once, "{what}: exactly once, {once} times of {most_once}");
        }
        let newest = session.newest_live.entry(r.topic.to_owned()).or_insert((*life, 0));
        if newest.0 < *life {
            // What was received before a crash may come again after it.
            *newest = (*life, 0);
        }
        if r.retain && e.plain[flag] == 0 {
            assert!(r.dup || newest.1 <= last, "{what}: replaced by what was received before");
        } else if e.was_retained {
            newest.1 = newest.1.max(first);
        }
        if !is_shared && !r.retain {
            let key = (publisher_of(r.payload), r.topic.to_owned(), r.qos);
            let order = session.order.get_mut(&key).expect("it was routed to the session");
            if order.life < *life {
                (order.life, order.at) = (*life, 0);
            }
            let mut rest = order.list[order.at..].iter();
            let found = rest.position(|(payload, _, until)| payload == r.payload && life < until);
            order.at += found.unwrap_or_else(|| panic!("{what}: out of order")) + 1;
        }
    }
}
