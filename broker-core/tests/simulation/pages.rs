//! Pages of lists while clients come and go: what is there all the while is seen once.
//!
//! `SIM_SEED` and `SIM_RUNS` as in `main.rs`.

use std::collections::{BTreeMap, BTreeSet};

use broker_codec::Property;
use broker_core::{Ban, Broker, Now, Page, PageRequest, Subscription, Who};

use crate::rig::*;
use crate::rng::Rng;
use crate::runs::number;

/// Worlds of a plain test run.
const RUNS: u64 = 12;
const ACTS: usize = 400;
const IDS: usize = 24;
const FILTERS: usize = 30;

/// A list as entries that differ from each other: by name, and by what tells a later one of that name.
type Entries = BTreeSet<String>;

/// A list, read by somebody.
struct Reader {
    caller: u64,
    limit: usize,
    /// Which of the lists.
    list: usize,
    next: usize,
    /// What has been there since the first page.
    stayed: Entries,
    seen: BTreeMap<String, usize>,
    passes: usize,
    pages: usize,
}

struct World {
    rig: Rig,
    rng: Rng,
    open: Vec<(String, C)>,
    bans: BTreeSet<String>,
}

fn id(n: usize) -> String {
    format!("c{n}")
}

fn filter(n: usize) -> String {
    match n % 3 {
        0 => format!("f/{n}"),
        1 => format!("f/{n}/+"),
        _ => format!("$share/g{}/f/{n}", n % 2),
    }
}

fn named<T>(page: &Page<T>, name: impl Fn(&T) -> String) -> Page<String> {
    Page { rows: page.rows.iter().map(name).collect(), count: page.count }
}

/// Each list, and what is there, found out without it.
const LISTS: [(fn(&Broker, &PageRequest, Now) -> Page<String>, fn(&World) -> Entries); 5] = [
    (
        |broker, request, now| {
            named(&broker.connections_page(request, now), |view| {
                format!("{} {}", view.client.client_id, view.client.connected_at_ms)
            })
        },
        World::connections,
    ),
    (
        |broker, request, now| {
            named(&broker.sessions_page(request, now), |view| {
                format!("{} {}", view.client.client_id, view.created_at_ms)
            })
        },
        World::sessions,
    ),
    (
        |broker, request, now| {
            named(&broker.subscriptions_page(request, now), |view| {
                format!("{} {}", view.client_id, view.subscription.filter)
            })
        },
        World::subscriptions,
    ),
    (
        |broker, request, now| {
            named(&broker.routes_page(request, now), |view| {
                format!("{} {:?}", view.filter, view.share)
            })
        },
        World::routes,
    ),
    (
        |broker, request, now| {
            named(&broker.bans_page(request, now), |(who, _)| match who {
                Who::ClientId(id) => id.to_string(),
                other => panic!("{other:?}"),
            })
        },
        |world| world.bans.clone(),
    ),
];

impl World {
    fn connections(&self) -> Entries {
        let view = |n| self.rig.broker.connection(&id(n));
        let views = (0..IDS).filter_map(view);
        views.map(|v| format!("{} {}", v.client.client_id, v.client.connected_at_ms)).collect()
    }

    fn sessions(&self) -> Entries {
        let view = |n| self.rig.broker.session(&id(n));
        let views = (0..IDS).filter_map(view);
        views.map(|v| format!("{} {}", v.client.client_id, v.created_at_ms)).collect()
    }

    fn each_subscription(&self) -> impl Iterator<Item = (String, Subscription)> {
        (0..IDS).map(id).flat_map(|id| {
            let all = self.rig.broker.subscriptions(&id).unwrap_or_default();
            all.into_iter().map(move |subscription| (id.clone(), subscription))
        })
    }

    fn subscriptions(&self) -> Entries {
        self.each_subscription().map(|(id, s)| format!("{id} {}", s.filter)).collect()
    }

    fn routes(&self) -> Entries {
        let route = |(_, subscription): (_, Subscription)| match subscription.share() {
            Some(name) => {
                let plain = subscription.filter.splitn(3, '/').nth(2).unwrap();
                format!("{plain} {:?}", Some(name))
            }
            None => format!("{} None", subscription.filter),
        };
        self.each_subscription().map(route).collect()
    }

    /// One thing that clients or operators do.
    fn act(&mut self) {
        // No two things at the same time, so that times tell entries of one name apart.
        self.rig.pass_ms(1);
        let n = self.rng.below(IDS);
        match self.rng.below(12) {
            0..=3 => {
                let id = id(n);
                let lasting = self.rng.chance(60);
                let mut hello = Hello::v5(&id);
                hello.clean = self.rng.chance(30);
                if lasting {
                    hello.properties.push(Property::SessionExpiryInterval(1_000));
                }
                let c = self.rig.join(hello);
                self.open.retain(|(other, _)| *other != id);
                self.open.push((id, c));
            }
            4..=5 if !self.open.is_empty() => {
                let at = self.rng.below(self.open.len());
                let (_, c) = self.open.swap_remove(at);
                self.rig.lose(c);
            }
            6..=8 if !self.open.is_empty() => {
                let (_, c) = *self.rng.pick(&self.open);
                // Now and then one that makes a session a large one.
                for _ in 0..=self.rng.below(6) {
                    let filter = filter(self.rng.below(FILTERS));
                    self.rig.subscribe(c, &filter, Q0);
                }
            }
            9 if !self.open.is_empty() => {
                let (_, c) = *self.rng.pick(&self.open);
                for _ in 0..=self.rng.below(6) {
                    let filter = filter(self.rng.below(FILTERS));
                    self.rig.unsubscribe(c, &filter);
                }
            }
            10 => {
                self.rig.turn.begin(self.rig.now);
                let _ = self.rig.broker.remove_session(&id(n), &mut self.rig.turn);
                self.rig.settle();
            }
            _ => {
                // Of clients that never come: they would be closed.
                let name = format!("ban{n}");
                let who = Who::ClientId(name.as_str().into());
                if self.bans.remove(&name) {
                    assert!(self.rig.broker.unban(&who).is_some());
                } else {
                    let _ = self.rig.broker.ban(&who, Ban::until(u64::MAX), self.rig.now.wall_ms);
                    self.bans.insert(name);
                }
            }
        }
        for (_, c) in &self.open {
            self.rig.out(*c);
        }
    }
}

impl Reader {
    /// Fetches the next page; behind the last one, checks what was seen and begins again.
    fn read(&mut self, all: &Entries, rig: &Rig) {
        if self.next == 1 {
            self.stayed = all.clone();
            self.seen.clear();
        }
        let request = PageRequest { page: self.next, limit: self.limit, caller: self.caller };
        let page = LISTS[self.list].0(&rig.broker, &request, rig.now);
        assert_eq!(page.count, all.len(), "the count is exact");
        assert!(page.rows.len() <= self.limit);
        assert!(page.rows.iter().all(|row| all.contains(row)), "{:?} of {all:?}", page.rows);
        self.pages += 1;
        for row in &page.rows {
            *self.seen.entry(row.clone()).or_default() += 1;
        }
        if page.rows.len() == self.limit {
            self.next += 1;
            return;
        }
        for entry in &self.stayed {
            assert_eq!(self.seen.get(entry), Some(&1), "{entry} in pages of {}", self.limit);
        }
        (self.next, self.passes) = (1, self.passes + 1);
    }
}

/// Returns how many pages were read, and how many lists from end to end.
fn run(seed: u64) -> (usize, usize) {
    let mut rng = Rng::new(seed);
    let mut readers = Vec::new();
    for list in 0..LISTS.len() {
        for caller in 1..=2 {
            readers.push(Reader {
                caller,
                limit: 1 + rng.below(7),
                list,
                next: 1,
                stayed: BTreeSet::new(),
                seen: BTreeMap::new(),
                passes: 0,
                pages: 0,
            });
        }
    }
    let mut world = World { rig: Rig::new(), rng, open: Vec::new(), bans: BTreeSet::new() };
    for _ in 0..ACTS {
        world.act();
        let all = LISTS.map(|(_, all)| all(&world));
        for reader in &mut readers {
            let all = &all[reader.list];
            reader.stayed.retain(|entry| all.contains(entry));
            if world.rng.chance(50) {
                reader.read(all, &world.rig);
            }
        }
    }
    readers.iter().fold((0, 0), |(pages, passes), it| (pages + it.pages, passes + it.passes))
}

#[test]
fn what_is_there_all_the_while_is_on_one_page() {
    let first = number("SIM_SEED");
    let runs = number("SIM_RUNS").unwrap_or_else(|| if first.is_some() { 1 } else { RUNS });
    let (mut n_pages, mut n_passes) = (0, 0);
    for seed in (first.unwrap_or(1)..).take(runs as usize) {
        let seeded = std::panic::AssertUnwindSafe(|| run(seed));
        let (pages, passes) = std::panic::catch_unwind(seeded).unwrap_or_else(|panic| {
            eprintln!("failed with SIM_SEED={seed}");
            std::panic::resume_unwind(panic)
        });
        n_pages += pages;
        n_passes += passes;
    }
    eprintln!("{runs} worlds: {n_pages} pages, {n_passes} lists");
    assert!(n_passes > 0 && n_pages > 3 * n_passes, "lists of several pages each");
}
