//! A crowd: clients on several threads that come, go and subscribe while operators page through the lists.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use broker_core::{Ban, Broker, Now, Page, PageRequest, Who};

use crate::rig::*;

const ROUNDS: usize = 400;
const IDS: usize = 12;

/// One thread's clients; others of the same names are on the other threads.
fn come_and_go(mut rig: Rig, thread: usize) {
    let mut n = thread;
    for round in 0..ROUNDS {
        n = (n * 5 + 3) % IDS;
        let (id, user) = (format!("c{n}"), format!("u{}", n % 3));
        let mut hello = Hello::v5(&id).user(&user);
        hello.clean = round % 5 == 0;
        let c = rig.hello(if round % 2 == 0 { hello.lasting(1_000) } else { hello });
        rig.subscribe(c, &format!("f/{round}"), Q0);
        rig.subscribe(c, &format!("$share/g/f/{n}"), Q0);
        rig.unsubscribe(c, &format!("f/{round}"));
        rig.subscribe(c, &format!("own/{n}"), Q0);
        if round % 50 == 0 {
            let (who, now_ms) = (Who::Username(user.as_str().into()), rig.now.wall_ms);
            let _ = rig.broker.ban(&who, Ban::until(now_ms + 1), now_ms);
            let _ = rig.broker.unban(&who);
        }
        rig.turn.begin(rig.now);
        let _ = rig.broker.remove_session(&format!("c{}", (n + 1) % IDS), &mut rig.turn);
        rig.settle();
        if round % 3 == 0 {
            rig.lose(c);
        }
        // Those whose sessions others have taken over learn of it.
        rig.settle();
    }
}

/// Subscribes clients and ends their subscriptions while they do the same.
fn meddle(mut rig: Rig) {
    for round in 0..ROUNDS * 4 {
        let (id, filter) = (format!("c{}", round % IDS), format!("own/{}", round % IDS));
        rig.turn.begin(rig.now);
        let _ = rig.broker.subscribe_client(&id, &filter, Q1, &mut rig.turn);
        let _ = rig.broker.unsubscribe_client(&id, &filter, &mut rig.turn);
        rig.settle();
    }
}

/// Tells the reader that all is over, also where a thread has failed: the test is to fail then, not to hang.
struct OverAtLast<'a>(&'a AtomicBool);

impl Drop for OverAtLast<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn read_all<T>(
    broker: &Broker,
    now: Now,
    page: impl Fn(&Broker, &PageRequest, Now) -> Page<T>,
) -> usize {
    let mut n_rows = 0;
    // New ones come at the end, perhaps as fast as they are read.
    for n in 1..1_000 {
        let request = PageRequest { page: n, limit: 3, caller: 1 };
        let rows = page(broker, &request, now).rows.len();
        n_rows += rows;
        if rows < 3 {
            break;
        }
    }
    n_rows
}

#[test]
fn lists_are_true_when_the_crowd_has_settled() {
    let rig = Rig::new();
    let (broker, now) = (&rig.broker, rig.now);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut n_rows = 0;
            while !is_over.load(Ordering::Relaxed) {
                n_rows += read_all(broker, now, Broker::connections_page);
                n_rows += read_all(broker, now, Broker::sessions_page);
                n_rows += read_all(broker, now, Broker::subscriptions_page);
                n_rows += read_all(broker, now, Broker::routes_page);
                n_rows += broker.connections_of("u1", 10).len();
                let _ = broker.stats();
            }
            n_rows
        });
        let clients = [0, 1, 2].map(|thread| {
            let rig = rig.beside();
            scope.spawn(move || come_and_go(rig, thread))
        });
        let meddler = rig.beside();
        let meddler = scope.spawn(move || meddle(meddler));
        let over = OverAtLast(&is_over);
        for thread in clients.into_iter().chain([meddler]) {
            thread.join().expect("no thread fails");
        }
        drop(over);
        assert!(reader.join().expect("no reader fails") > 0);
    });
    let ids: Vec<_> = (0..IDS).map(|n| format!("c{n}")).collect();
    let connected: Vec<_> = ids.iter().filter_map(|id| broker.connection(id)).collect();
    let sessions: Vec<_> = ids.iter().filter_map(|id| broker.session(id)).collect();
    let subscriptions: Vec<_> =
        ids.iter().flat_map(|id| broker.subscriptions(id).unwrap_or_default()).collect();
    // `list` compares rows and count as well.
    assert_eq!(rig.list(Broker::connections_page).len(), connected.len());
    assert_eq!(rig.list(Broker::sessions_page).len(), sessions.len());
    assert_eq!(rig.list(Broker::subscriptions_page).len(), subscriptions.len());
    let mut filters: Vec<_> = subscriptions
        .iter()
        .map(|it| it.filter.trim_start_matches("$share/g/").to_owned())
        .collect();
    filters.sort();
    filters.dedup();
    assert_eq!(rig.routes(), filters);
    let of_users: usize =
        ["u0", "u1", "u2"].map(|user| broker.connections_of(user, IDS).len()).iter().sum();
    assert_eq!(of_users, connected.len());
    assert_eq!(rig.bans(), []);
}

/// Counts that could lag behind the routes would pass below zero, and above what there ever was.
#[test]
fn what_is_counted_is_what_there_is_at_any_moment() {
    let mut rig = Rig::new();
    rig.hello(Hello::v5("c").lasting(1_000));
    let come_and_go = |mut rig: Rig| {
        for _ in 0..2_000 {
            for filter in ["f", "$share/g/f"] {
                rig.turn.begin(rig.now);
                let _ = rig.broker.subscribe_client("c", filter, Q1, &mut rig.turn);
                let _ = rig.broker.unsubscribe_client("c", filter, &mut rig.turn);
                rig.settle();
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            let rig = rig.beside();
            scope.spawn(move || come_and_go(rig));
        }
    });
    let stats = rig.broker.stats();
    let stat = |name: &str| stats.iter().find(|(it, _)| *it == name).expect("it is there").1;
    for (name, most) in [("subscribers", 1), ("subscriptions/shared", 1), ("subscriptions", 2)] {
        let seen = (stat(&format!("{name}/count")), stat(&format!("{name}/max")));
        assert_eq!(seen, (0, most), "{name}");
    }
}
