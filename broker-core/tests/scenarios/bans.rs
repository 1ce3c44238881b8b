//! Bans: whom they meet, and when they end.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use broker_core::extension::{Answer, Authentication, Authenticator, Credentials, Extensions};
use broker_core::{Ban, Broker, CloseCause, PageRequest, Who};

use crate::rig::*;

impl Rig {
    fn ban(&mut self, who: &Who, until_ms: u64) {
        let _ = self.broker.ban(who, Ban::until(until_ms), self.now.wall_ms);
        self.settle();
    }

    fn banned(&self) -> Vec<String> {
        self.bans()
            .into_iter()
            .map(|(who, _)| match who {
                Who::ClientId(name) | Who::Username(name) => name.into(),
                Who::Address(address) => address.to_string(),
                Who::Network(network) => network.to_string(),
            })
            .collect()
    }
}

fn id(text: &str) -> Who {
    Who::ClientId(text.into())
}

#[test]
fn a_ban_stays_where_it_was_pronounced_first() {
    let mut rig = Rig::new();
    for who in [id("z"), Who::Username("a".into()), Who::at("10.0.0.0/8").unwrap(), id("m")] {
        rig.ban(&who, u64::MAX);
    }
    let again = Ban { desc: Some("again".into()), by: None, ..Ban::until(u64::MAX) };
    let _ = rig.broker.ban(&id("z"), again.clone(), rig.now.wall_ms);
    assert_eq!(rig.banned(), ["z", "a", "10.0.0.0/8", "m"]);
    assert_eq!(rig.bans()[0].1, again);
    assert!(rig.broker.unban(&Who::at("10.255.0.1/8").unwrap()).is_some());
    let request = |page| PageRequest { page, limit: 2, caller: 1 };
    let page = rig.broker.bans_page(&request(1), rig.now);
    assert_eq!((page.rows.len(), page.count), (2, 3));
    assert!(rig.broker.unban(&id("z")).is_some());
    let page = rig.broker.bans_page(&request(2), rig.now);
    assert_eq!((page.rows[0].0.clone(), page.count), (id("m"), 2));
}

#[test]
fn a_ban_ends_to_the_millisecond_and_is_shown_no_longer() {
    let mut rig = Rig::new();
    let until_ms = rig.now.wall_ms + 5_000;
    rig.ban(&id("c"), until_ms);
    rig.ban(&id("d"), u64::MAX);
    rig.pass_ms(4_999);
    let c = rig.hello(Hello::v5("c"));
    assert_eq!(rig.out(c).len(), 1);
    assert!(rig.broker.session("c").is_none());
    assert_eq!(rig.banned(), ["c", "d"]);
    rig.pass_ms(1);
    rig.client("c");
    assert_eq!(rig.banned(), ["d"]);
}

/// One that lies in the past has no effect but to take the place of another.
#[test]
fn a_ban_that_is_over_lifts_the_one_it_replaces() {
    let mut rig = Rig::new();
    let now_ms = rig.now.wall_ms;
    let c = rig.client("c");
    rig.ban(&id("c"), now_ms);
    assert_eq!(rig.cause(c), None);
    assert_eq!(rig.banned(), Vec::<String>::new());
    rig.ban(&id("c"), u64::MAX);
    assert_eq!(rig.cause(c), Some(CloseCause::Banned));
    rig.ban(&id("c"), now_ms - 1);
    assert_eq!(rig.banned(), Vec::<String>::new());
    rig.client("c");
}

/// Those that nobody asks about go too, and out of the store.
#[test]
fn bans_that_are_over_leave_nothing_behind() {
    let mut rig = Rig::durable(|_, _| {});
    let now_ms = rig.now.wall_ms;
    for n in 0..600 {
        rig.ban(&id(&n.to_string()), now_ms + 1_000 + n % 2 * 120_000);
    }
    assert_eq!(rig.broker.settings("ban").len(), 600);
    rig.pass_s(60);
    assert_eq!(rig.broker.settings("ban").len(), 300);
    rig.pass_s(120);
    assert_eq!(rig.broker.settings("ban").len(), 0);
    assert_eq!(rig.broker.poll_timeout(), None, "nothing is left to be looked at");
}

/// `enable_ban` of the zone: off for those who must always come in.
#[test]
fn a_zone_without_bans_knows_none() {
    let mut rig = Rig::with_zone(|zone| zone.enable_ban = false);
    let c = rig.join(Hello::v5("c").user("bob"));
    for who in [id("c"), Who::Username("bob".into()), Who::at("0.0.0.0/0").unwrap()] {
        rig.ban(&who, u64::MAX);
    }
    assert_eq!(rig.cause(c), None);
    rig.join(Hello::v5("d").user("bob"));
}

#[test]
fn a_block_of_addresses_meets_those_who_are_in_it() {
    let mut rig = Rig::new();
    let mut clients = Vec::new();
    for n in 0..600 {
        rig.address = format!("10.0.{}.7:1883", n % 4).parse().unwrap();
        clients.push((n % 4, rig.client(&format!("c{n}"))));
    }
    rig.ban(&Who::at("10.0.2.0/23").unwrap(), u64::MAX);
    for (n, c) in clients {
        assert_eq!(rig.cause(c).is_some(), n >= 2);
    }
    assert_eq!(rig.list(Broker::connections_page).len(), 300);
}

/// Lets everybody in, some time.
struct Slow(Arc<AtomicBool>);

impl Authenticator for Slow {
    fn authenticate(&self, _: &Arc<Credentials>) -> Answer<Authentication> {
        let gate = Arc::clone(&self.0);
        Answer::Later(Box::pin(poll_fn(move |_| match gate.load(Ordering::Relaxed) {
            true => Poll::Ready(Authentication::Allow { superuser: false }),
            false => Poll::Pending,
        })))
    }
}

/// The ban comes while the client is at the door.
#[test]
fn a_ban_meets_a_client_whose_login_is_under_way() {
    let gate = Arc::new(AtomicBool::new(false));
    let authenticators = vec![Arc::new(Slow(Arc::clone(&gate))) as Arc<dyn Authenticator>];
    let mut rig = Rig::with_extensions(Extensions { authenticators, ..Extensions::default() });
    // Who sends no name might be let in unasked.
    let c = rig.hello(Hello::v5("c").user("alice"));
    rig.ban(&id("c"), u64::MAX);
    gate.store(true, Ordering::Relaxed);
    rig.settle();
    rig.check(c, &["CONNACK present=0 0x8a ReasonString(\"banned\")"]);
    assert!(rig.broker.session("c").is_none());
}
