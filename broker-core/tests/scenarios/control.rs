//! What an operator sees of connections, sessions, subscriptions and routes, and does to them.

use std::sync::Arc;

use broker_codec::{Packet, Property};
use broker_core::extension::{Action, Answer, Authorizer, Extensions, Verdict};
use broker_core::{
    Broker, ClientInfo, CloseCause, Now, Page, PageRequest, ReasonCode, RemoveSessionError,
    RouteView, SubscriptionView,
};
use parking_lot::Mutex;

use crate::rig::*;

fn request(page: usize, limit: usize) -> PageRequest {
    PageRequest { page, limit, caller: 1 }
}

/// Rows of the pages from the first to the one that ends the list, each with the count of the whole.
fn pages<T>(
    rig: &Rig,
    limit: usize,
    page: impl Fn(&Broker, &PageRequest, Now) -> Page<T>,
    show: impl Fn(&T) -> String,
) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    for n in 1.. {
        let page = page(&rig.broker, &request(n, limit), rig.now);
        assert!(n == 1 || page.count > (n - 2) * limit, "no page behind an unfinished one");
        if page.rows.is_empty() {
            return pages;
        }
        pages.push(page.rows.iter().map(&show).collect());
        let n_shown: usize = pages.iter().map(Vec::len).sum();
        assert!(n_shown <= page.count);
    }
    pages
}

fn row(view: &SubscriptionView) -> String {
    format!("{} {}", view.client_id, view.subscription.filter)
}

fn route(view: &RouteView) -> String {
    view.share
        .as_ref()
        .map_or_else(|| view.filter.to_string(), |share| format!("{} for {share:?}", view.filter))
}

#[test]
fn lists_are_in_the_order_in_which_their_entries_came() {
    let mut rig = Rig::new();
    let clients: Vec<_> =
        ["z", "a", "m"].map(|id| rig.join(Hello::v5(id).lasting(100))).into_iter().collect();
    rig.subscribed(clients[1], "b/#", Q1);
    rig.subscribed(clients[0], "t", Q2);
    rig.subscribed(clients[0], "s", Q0);
    rig.subscribed(clients[2], "t", Q0);
    let connections = |rig: &Rig| {
        pages(rig, 2, Broker::connections_page, |view| view.client.client_id.to_string())
    };
    let sessions =
        |rig: &Rig| pages(rig, 2, Broker::sessions_page, |view| view.client.client_id.to_string());
    assert_eq!(connections(&rig), [vec!["z", "a"], vec!["m"]]);
    assert_eq!(sessions(&rig), [vec!["z", "a"], vec!["m"]]);
    assert_eq!(
        pages(&rig, 2, Broker::subscriptions_page, row),
        [vec!["z s", "z t"], vec!["a b/#", "m t"]]
    );
    assert_eq!(pages(&rig, 2, Broker::routes_page, route), [vec!["b/#", "t"], vec!["s"]]);
    rig.lose(clients[0]);
    assert_eq!(connections(&rig), [vec!["a", "m"]]);
    assert_eq!(sessions(&rig), [vec!["z", "a"], vec!["m"]]);
    // A client that comes back to its session has its place again; so has one that takes it over.
    for id in ["z", "a"] {
        rig.join(Hello::v5(id).lasting(100));
        assert_eq!(connections(&rig), [vec!["z", "a"], vec!["m"]]);
        assert_eq!(sessions(&rig), [vec!["z", "a"], vec!["m"]]);
    }
    rig.pass_s(1);
    assert_eq!(rig.list(Broker::connections_page).len(), 3);
    // With Clean Start the session is another.
    rig.join(Hello::v5("z").clean());
    assert_eq!(connections(&rig), [vec!["a", "m"], vec!["z"]]);
    assert_eq!(sessions(&rig), [vec!["a", "m"], vec!["z"]]);
    assert_eq!(
        pages(&rig, 9, Broker::subscriptions_page, row),
        [vec!["a b/#", "m t"]],
        "its subscriptions went with it"
    );
    assert_eq!(pages(&rig, 9, Broker::routes_page, route), [vec!["b/#", "t"]]);
}

#[test]
fn a_page_of_no_measure_is_taken_for_the_nearest() {
    let mut rig = Rig::new();
    for n in 0..3 {
        rig.client(&n.to_string());
    }
    let broker = &rig.broker;
    let n_rows = |page, limit| {
        let page = broker.sessions_page(&request(page, limit), rig.now);
        assert_eq!(page.count, 3);
        page.rows.len()
    };
    assert_eq!(n_rows(0, 2), 2);
    assert_eq!(n_rows(1, 0), 1);
    assert_eq!(n_rows(1, usize::MAX), 3);
    assert_eq!(n_rows(7, 7), 0);
    assert_eq!(n_rows(usize::MAX, usize::MAX), 0);
}

/// Pages and batches do not fall together; a session may have more subscriptions than a page has rows.
#[test]
fn a_page_goes_on_through_many_sessions_and_through_a_large_one() {
    let mut rig = Rig::new();
    let mut expected = Vec::new();
    for n in 0..600 {
        let id = format!("c{n}");
        let c = rig.client(&id);
        let n_subscriptions = match n {
            300 => 700,
            n => n % 3,
        };
        for s in 0..n_subscriptions {
            rig.subscribe(c, &format!("f/{s:03}"), Q0);
            expected.push(format!("{id} f/{s:03}"));
        }
    }
    for limit in [600, 256, 333] {
        let pages = pages(&rig, limit, Broker::subscriptions_page, row);
        assert!(pages.iter().rev().skip(1).all(|page| page.len() == limit));
        assert_eq!(pages.concat(), expected);
        // The same without the page before it: by its number.
        let third = PageRequest { page: 3, limit, caller: 99 };
        let third = rig.broker.subscriptions_page(&third, rig.now);
        assert_eq!(third.rows.iter().map(row).collect::<Vec<_>>(), pages[2]);
        assert_eq!(third.count, expected.len());
    }
    let of_one = rig.broker.subscriptions("c300").unwrap();
    assert_eq!(of_one.len(), 700);
    assert!(of_one.is_sorted_by(|a, b| a.filter < b.filter));
    let ids = pages(&rig, 500, Broker::sessions_page, |view| view.client.client_id.to_string());
    assert_eq!(ids.iter().map(Vec::len).collect::<Vec<_>>(), [500, 100]);
}

/// What is asked for one page after another is whole; what is asked for by its number is what the number says.
#[test]
fn the_next_page_goes_on_behind_the_last_one_whatever_has_gone() {
    let mut rig = Rig::new();
    let clients: Vec<_> = (0..8).map(|n| rig.client(&n.to_string())).collect();
    let ids = |rig: &Rig, page, caller| -> String {
        let request = PageRequest { page, limit: 2, caller };
        let page = rig.broker.sessions_page(&request, rig.now);
        page.rows.iter().map(|view| view.client.client_id.to_string()).collect()
    };
    assert_eq!(ids(&rig, 1, 1), "01");
    rig.lose(clients[0]);
    rig.lose(clients[1]);
    assert_eq!(ids(&rig, 2, 1), "23");
    assert_eq!(ids(&rig, 2, 2), "45", "somebody else");
    rig.lose(clients[3]);
    rig.client("8");
    assert_eq!(ids(&rig, 3, 1), "45");
    assert_eq!(ids(&rig, 4, 1), "67");
    assert_eq!(ids(&rig, 5, 1), "8");
    rig.client("9");
    assert_eq!(ids(&rig, 6, 1), "9", "behind the end as well");
    assert_eq!(ids(&rig, 5, 1), "89", "a page once more, as it is by now");
    rig.pass_s(300);
    assert_eq!(ids(&rig, 2, 1), "56", "long after");
}

#[test]
fn a_connection_shows_who_it_is() {
    let mut rig = Rig::new();
    let bridge = Hello { bridge: true, keep_alive_s: 30, ..Hello::v3("bridge").user("bob") };
    let c = rig.join(bridge);
    rig.join(Hello::v5("plain").lasting(50));
    let views = rig.list(Broker::connections_page);
    let [bridge, plain] = &views[..] else { panic!("{views:?}") };
    assert!(bridge.client.is_bridge && bridge.client.clean_start);
    assert_eq!((bridge.client.version, bridge.client.keep_alive_s), (V3, 30));
    assert_eq!(bridge.client.username.as_deref(), Some("bob"));
    assert_eq!(bridge.client.peer, Some(rig.address));
    assert!(!plain.client.is_bridge && !plain.client.clean_start);
    let session = rig.broker.session("plain").unwrap();
    assert!(session.is_connected && !session.counts.created_clean);
    assert_eq!((session.expiry_s, session.counts.max_inflight), (50, 32));
    // What waits is seen in a list and by name alike.
    rig.subscribed(c, "t", Q0);
    rig.socket(c).lock().capacity = 0;
    let p = rig.client("p");
    rig.publish(p, "t", &"x".repeat(1_000), Q0, 0);
    let shown = rig.broker.connection("bridge").unwrap().connection;
    assert!(shown.pending_bytes > 1_000);
    assert_eq!(rig.list(Broker::connections_page)[0].connection, shown);
    assert_eq!(rig.broker.connections_of("bob", 1)[0].connection, shown);
    assert_eq!(rig.broker.session("bridge").and_then(|view| view.connection), Some(shown));
    rig.lose(c);
    assert!(rig.broker.connection("bridge").is_none());
    assert!(rig.broker.connection("nobody").is_none());
}

/// A filter is a route for those who subscribed to it, and one for each of its groups.
#[test]
fn routes_are_filters_and_their_groups() {
    let mut rig = Rig::new();
    let (a, b) = (rig.client("a"), rig.client("b"));
    for filter in ["$share/g/t/+", "t/+", "$share/h/t/+", "$queue/t/+", "$share/g/x"] {
        rig.subscribed(a, filter, Q0);
    }
    for filter in ["t/+", "$share/g/t/+"] {
        rig.subscribed(b, filter, Q0);
    }
    let routes = |rig: &Rig| rig.list(Broker::routes_page).iter().map(route).collect::<Vec<_>>();
    let of_t = ["t/+ for \"g\"", "t/+", "t/+ for \"h\"", "t/+ for \"\""];
    assert_eq!(routes(&rig), [&of_t[..], &["x for \"g\""]].concat());
    let mut found: Vec<_> = rig.broker.route("t/+").iter().map(route).collect();
    found.sort();
    let mut expected = of_t;
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(rig.broker.route("t/1"), [], "a filter, not a topic to be matched");
    rig.unsubscribe(a, "t/+");
    rig.unsubscribe(a, "$share/g/t/+");
    rig.unsubscribe(a, "$share/h/t/+");
    assert_eq!(routes(&rig), ["t/+ for \"g\"", "t/+", "t/+ for \"\"", "x for \"g\""]);
    rig.lose(a);
    assert_eq!(routes(&rig), ["t/+ for \"g\"", "t/+"]);
    rig.lose(b);
    assert_eq!(routes(&rig), Vec::<String>::new());
    // Where messages go inside the process is no route.
    let inbox = rig.broker.subscribe_local("t/+", 1, rig.now).unwrap();
    assert_eq!(routes(&rig), Vec::<String>::new());
    let a = rig.client("a");
    rig.subscribe(a, "t/+", Q0);
    assert_eq!(routes(&rig), ["t/+"]);
    drop(inbox);
    assert_eq!(routes(&rig), ["t/+"]);
    let inbox = rig.broker.subscribe_local("t/+", 1, rig.now).unwrap();
    rig.lose(a);
    assert_eq!(routes(&rig), Vec::<String>::new());
    assert_eq!(rig.broker.route("t/+"), []);
    drop(inbox);
}

#[test]
fn connections_are_found_by_user_name() {
    let mut rig = Rig::new();
    let crowd: Vec<_> =
        (0..600).map(|n| rig.join(Hello::v5(&format!("c{n:03}")).user("crowd"))).collect();
    rig.join(Hello::v5("one").user(""));
    rig.client("nameless");
    let found = |rig: &Rig, name: &str, max: usize| -> Vec<String> {
        let found = rig.broker.connections_of(name, max);
        assert!(found.iter().all(|view| view.client.username.as_deref() == Some(name)));
        found.iter().map(|view| view.client.client_id.to_string()).collect()
    };
    assert_eq!(found(&rig, "crowd", 1_000).len(), 600);
    assert!(found(&rig, "crowd", 1_000).is_sorted());
    assert_eq!(found(&rig, "crowd", 2), ["c000", "c001"]);
    assert_eq!(found(&rig, "crowd", 0).len(), 0);
    assert_eq!(found(&rig, "", 10), ["one"]);
    assert_eq!(found(&rig, "nobody", 10).len(), 0);
    rig.lose(crowd[0]);
    // Another user has the identifier of one that is gone.
    rig.lose(crowd[1]);
    rig.join(Hello::v5("c001").user("other"));
    assert_eq!(found(&rig, "crowd", 2), ["c002", "c003"]);
    assert_eq!(found(&rig, "other", 2), ["c001"]);
    assert_eq!(found(&rig, "crowd", 1_000).len(), 598);
}

#[test]
fn only_the_session_of_a_client_that_is_away_is_removed() {
    let mut rig = Rig::new();
    let c = rig.join(Hello::v5("c").lasting(100).will("will", "gone").will_delay(50));
    rig.subscribed(c, "t", Q1);
    let remove = |rig: &mut Rig, id: &str| {
        rig.turn.begin(rig.now);
        let removed = rig.broker.remove_session(id, &mut rig.turn);
        rig.settle();
        removed
    };
    assert_eq!(remove(&mut rig, "c"), Err(RemoveSessionError::Running));
    rig.check(c, &[]);
    let watch = rig.client("watch");
    rig.subscribed(watch, "will", Q0);
    rig.lose(c);
    rig.check(watch, &[]);
    assert_eq!(remove(&mut rig, "c"), Ok(()));
    rig.check(watch, &["PUBLISH q0 will=gone"]);
    assert!(rig.broker.session("c").is_none());
    assert_eq!(rig.routes(), ["will"]);
    assert_eq!(remove(&mut rig, "c"), Err(RemoveSessionError::NotFound));
    assert_eq!(remove(&mut rig, "nobody"), Err(RemoveSessionError::NotFound));
}

#[test]
fn a_session_that_was_removed_does_not_come_back() {
    let mut rig = Rig::durable(|_, _| {});
    let c = rig.hello(Hello::v5("c").lasting(100));
    rig.sync();
    rig.lose(c);
    rig.turn.begin(rig.now);
    assert_eq!(rig.broker.remove_session("c", &mut rig.turn), Ok(()));
    rig.turn.finish();
    let saved = rig.turn.saved();
    assert!(!rig.broker.is_saved(saved));
    rig.sync();
    assert!(rig.broker.is_saved(saved));
    assert_eq!(rig.crash().sessions, 0);
    rig.turn.finish();
    assert!(rig.broker.is_saved(rig.turn.saved()), "a pass that changes nothing");
}

impl Rig {
    fn subscribe_for(
        &mut self,
        id: &str,
        filter: &str,
        qos: broker_core::QoS,
    ) -> Option<ReasonCode> {
        self.turn.begin(self.now);
        let answer = self.broker.subscribe_client(id, filter, qos, &mut self.turn);
        self.settle();
        answer.err()
    }

    fn unsubscribe_for(&mut self, id: &str, filter: &str) -> Option<ReasonCode> {
        self.turn.begin(self.now);
        let answer = self.broker.unsubscribe_client(id, filter, &mut self.turn);
        self.settle();
        answer.err()
    }
}

#[test]
fn a_client_that_is_connected_is_subscribed_without_a_word() {
    let mut rig = Rig::new();
    let p = rig.client("p");
    rig.retain(p, "t/kept", "old");
    let c = rig.client("c");
    assert_eq!(rig.subscribe_for("c", "t/#", Q1), None);
    rig.check(c, &["PUBLISH retain q0 t/kept=old"]);
    rig.publish(p, "t/1", "new", Q1, 1);
    rig.check(c, &["PUBLISH q1 #1 t/1=new"]);
    assert_eq!(rig.unsubscribe_for("c", "t/#"), None);
    rig.publish(p, "t/1", "too late", Q1, 2);
    rig.check(c, &[]);
    assert_eq!(rig.unsubscribe_for("c", "t/#"), Some(ReasonCode::NoSubscriptionExisted));
    for (id, filter, code) in [
        ("nobody", "t", ReasonCode::PacketIdentifierNotFound),
        ("c", "t/#/x", ReasonCode::TopicFilterInvalid),
        ("c", "", ReasonCode::TopicFilterInvalid),
    ] {
        assert_eq!(rig.subscribe_for(id, filter, Q0), Some(code));
        assert_eq!(rig.unsubscribe_for(id, filter), Some(code));
    }
}

/// What a bridge expects of its own subscriptions holds for those that are made for it.
#[test]
fn a_bridge_gets_no_echo_of_what_it_was_subscribed_to() {
    let mut rig = Rig::new();
    let bridge = rig.join(Hello { bridge: true, ..Hello::v3("bridge") });
    assert_eq!(rig.subscribe_for("bridge", "t", Q0), None);
    rig.publish(bridge, "t", "mine", Q0, 0);
    rig.check(bridge, &[]);
}

/// The subscription and what it brings wait for the client, over a crash too.
#[test]
fn a_client_that_is_away_is_subscribed_as_if_it_were_there() {
    let mut rig = Rig::durable(|_, _| {});
    let p = rig.hello(Hello::v5("p"));
    rig.retain(p, "kept", "old");
    let c = rig.hello(Hello::v5("c").lasting(1_000));
    rig.sync();
    rig.lose(c);
    for filter in ["kept", "t/+", "$share/g/s", "$queue/q", "never"] {
        assert_eq!(rig.subscribe_for("c", filter, Q1), None);
    }
    assert_eq!(rig.unsubscribe_for("c", "never"), None);
    for (n, topic) in [(1, "t/1"), (2, "s"), (3, "q"), (4, "never")] {
        rig.publish(p, topic, "waits", Q1, n);
    }
    assert_eq!(rig.broker.session("c").map(|view| view.queued), Some(3));
    let c = rig.hello(Hello::v5("c").lasting(1_000));
    rig.sync();
    let waited = ["PUBLISH q1 #1 t/1=waits", "PUBLISH q1 #2 s=waits", "PUBLISH q1 #3 q=waits"];
    let connack = "CONNACK present=1 0x00";
    rig.check(c, &[&[connack][..], &waited, &["PUBLISH retain q0 kept=old"]].concat());
    rig.crash();
    let filters: Vec<_> =
        rig.broker.subscriptions("c").unwrap().iter().map(|s| s.filter.to_string()).collect();
    assert_eq!(filters, ["$queue/q", "$share/g/s", "kept", "t/+"]);
    assert_eq!(rig.routes(), ["kept", "q", "s", "t/+"]);
    assert_eq!(rig.unsubscribe_for("c", "t/+"), None);
    rig.sync();
    rig.crash();
    assert_eq!(rig.routes(), ["kept", "q", "s"]);
}

/// A client that comes back behind another mountpoint means another filter by the same words.
#[test]
fn a_subscription_is_routed_once_whatever_it_is_behind() {
    let mut rig = Rig::new();
    for (prefix, routes) in [("a/", ["a/t", "a/t for \"g\""]), ("b/", ["b/t", "b/t for \"g\""])] {
        let mountpoint = Some(prefix.into());
        let zone = broker_core::config::ZoneConfig { mountpoint, ..(*rig.zone).clone() };
        let c = rig.open_in(V5, Arc::new(zone));
        rig.say_hello(c, &Hello::v5("c").lasting(100));
        rig.out(c);
        rig.subscribed(c, "t", Q1);
        rig.subscribed(c, "$share/g/t", Q1);
        let shown: Vec<_> = rig.list(Broker::routes_page).iter().map(route).collect();
        assert_eq!(shown, routes);
        assert_eq!(rig.broker.session("c").map(|view| view.subscriptions), Some(2));
    }
}

/// Sessions keep their order and what they were created as.
#[test]
fn a_restart_leaves_the_lists_as_they_were() {
    let mut rig = Rig::durable(|_, _| {});
    for id in ["z", "a", "m"] {
        let c = rig.hello(match id {
            "m" => Hello { bridge: true, ..Hello::v3(id) }.lasting(1_000),
            _ => Hello { clean: id == "a", ..Hello::v5(id).lasting(1_000) },
        });
        rig.subscribe(c, "t/#", Q1);
        rig.subscribe(c, "b", Q0);
        rig.sync();
    }
    // Resumed, it is still the session that a Clean Start has created.
    rig.hello(Hello::v5("a").lasting(1_000));
    rig.sync();
    let check = |rig: &Rig| {
        let sessions = rig.list(Broker::sessions_page);
        let shown: Vec<_> = sessions
            .iter()
            .map(|view| (view.client.client_id.to_string(), view.counts.created_clean))
            .collect();
        let expected = [("z", false), ("a", true), ("m", false)];
        assert_eq!(shown, expected.map(|(id, clean)| (id.to_owned(), clean)));
        assert!(sessions[2].client.is_bridge && !sessions[1].client.is_bridge);
        let rows: Vec<_> = rig.list(Broker::subscriptions_page).iter().map(row).collect();
        assert_eq!(rows, ["z b", "z t/#", "a b", "a t/#", "m b", "m t/#"]);
        let stats = rig.broker.stats();
        let stat = |name| stats.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
        assert_eq!(stat("sessions/persistent/count"), Some(2));
        assert_eq!(stat("subscriptions/count"), Some(6));
    };
    check(&rig);
    assert_eq!(rig.list(Broker::connections_page).len(), 3);
    rig.crash();
    check(&rig);
    assert_eq!(rig.list(Broker::connections_page).len(), 0);
    rig.disk().snapshot(&rig.broker);
    rig.crash();
    check(&rig);
}

/// [MQTT-3.14.4-1] A DISCONNECT that ends the session takes it off all lists.
#[test]
fn what_has_ended_is_on_no_list() {
    let mut rig = Rig::new();
    let c = rig.join(Hello::v5("c").lasting(100).user("u"));
    rig.subscribed(c, "t", Q0);
    rig.subscribed(c, "$share/g/t", Q0);
    rig.disconnect(c, ReasonCode::Success, &[Property::SessionExpiryInterval(0)]);
    assert_eq!(rig.list(Broker::connections_page).len(), 0);
    assert_eq!(rig.list(Broker::sessions_page).len(), 0);
    assert_eq!(rig.list(Broker::subscriptions_page).len(), 0);
    assert_eq!(rig.list(Broker::routes_page).len(), 0);
    assert_eq!(rig.broker.connections_of("u", 9).len(), 0);
    let c = rig.hello(Hello::v5("d"));
    rig.send(c, &Packet::PingReq);
    assert!(rig.broker.stats().contains(&("connections/count", 1)));
}

/// Who was on the way in when the broker began to stop is neither let in nor left unclosed.
#[test]
fn nobody_is_let_in_by_a_broker_that_closes() {
    let mut rig = Rig::new();
    let inside = rig.client("inside");
    let late = [rig.open(V5), rig.open(V3)];
    rig.broker.close_all();
    rig.settle();
    assert_eq!(rig.cause(inside), Some(CloseCause::ServerShuttingDown));
    rig.check(inside, &["DISCONNECT 0x8b"]);
    rig.say_hello(late[0], &Hello::v5("late").lasting(60));
    rig.say_hello(late[1], &Hello::v3("later"));
    for c in late {
        rig.check(c, &["CONNACK present=0 0x88"]);
        assert_eq!(rig.cause(c), Some(CloseCause::Refused(ReasonCode::ServerUnavailable)));
    }
    assert!(rig.broker.session("late").is_none());
}

/// It is asked about a Will, between the question whether the broker closes and the session.
struct Closes(Mutex<Option<Arc<Broker>>>);

impl Authorizer for Closes {
    fn authorize(&self, _: &Arc<ClientInfo>, _: Action, _: &str) -> Answer<Verdict> {
        self.0.lock().take().inspect(|broker| broker.close_all());
        Answer::Now(Verdict::Allow)
    }
}

#[test]
fn who_is_let_in_while_the_broker_begins_to_close_goes_with_the_others() {
    let closes = Arc::new(Closes(Mutex::default()));
    let authorizers = vec![Arc::clone(&closes) as Arc<dyn Authorizer>];
    let mut rig = Rig::with_extensions(Extensions { authorizers, ..Extensions::default() });
    *closes.0.lock() = Some(Arc::clone(&rig.broker));
    let c = rig.hello(Hello::v5("c").will("w", "gone"));
    rig.check(c, &["CONNACK present=0 0x00", "DISCONNECT 0x8b"]);
}

/// A client that reads slowly, but reads, is not cut off in the middle of what it is sent.
#[test]
fn what_is_ready_is_delivered_before_the_broker_closes() {
    let mut rig = Rig::new();
    let (p, c) = (rig.client("p"), rig.client("c"));
    rig.subscribed(c, "t", Q0);
    rig.socket(c).lock().capacity = 10;
    rig.publish(p, "t", "a message", Q0, 0);
    rig.broker.close_all();
    rig.settle();
    assert_eq!((rig.cause(p), rig.cause(c)), (Some(CloseCause::ServerShuttingDown), None));
    rig.socket(c).lock().capacity = 1_000;
    rig.writable(c);
    rig.check(c, &["PUBLISH q0 t=a message", "DISCONNECT 0x8b"]);
    assert_eq!(rig.cause(c), Some(CloseCause::ServerShuttingDown));
}
