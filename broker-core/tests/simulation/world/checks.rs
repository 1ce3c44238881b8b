//! Checks: what the broker has handled, for the model; what it has written, against the disk.

use std::collections::BTreeSet;

use broker_codec::{Packet, PacketId};
use broker_core::{Broker, Now, PageRequest};

use super::World;
use crate::model::{Connecting, Pass};
use crate::rig::describe;

/// An answer that must not leave before a pass is on the disk.
pub(super) struct Promise {
    packet_id: PacketId,
    pass: Pass,
}

impl World {
    /// The lists of the control plane show what a look at each client does.
    pub(super) fn check_lists(&self) {
        let ids = || self.clients.iter().map(|client| client.id.clone());
        let is_connected = |id: &String| self.broker.connection(id).is_some();
        let has_session = |id: &String| self.broker.session(id).is_some();
        self.check_list(&ids().filter(is_connected).collect(), |broker, request, now| {
            let page = broker.connections_page(request, now);
            (page.count, page.rows.iter().map(|view| view.client.client_id.to_string()).collect())
        });
        self.check_list(&ids().filter(has_session).collect(), |broker, request, now| {
            let page = broker.sessions_page(request, now);
            (page.count, page.rows.iter().map(|view| view.client.client_id.to_string()).collect())
        });
        let filters = |id: &String| {
            let all = self.broker.subscriptions(id).unwrap_or_default();
            all.into_iter().map(|subscription| subscription.filter.to_string()).collect::<Vec<_>>()
        };
        let of_client =
            |id: String| filters(&id).into_iter().map(move |filter| format!("{id} {filter}"));
        self.check_list(&ids().flat_map(of_client).collect(), |broker, request, now| {
            let page = broker.subscriptions_page(request, now);
            let rows = page.rows.iter();
            let names = rows.map(|row| format!("{} {}", row.client_id, row.subscription.filter));
            (page.count, names.collect())
        });
    }

    fn check_list(
        &self,
        expected: &BTreeSet<String>,
        page: impl Fn(&Broker, &PageRequest, Now) -> (usize, Vec<String>),
    ) {
        let request = PageRequest { page: 1, limit: usize::MAX, caller: 0 };
        let (count, rows) = page(&self.broker, &request, self.now);
        assert_eq!(count, rows.len(), "{rows:?}");
        assert_eq!(rows.len(), expected.len(), "{rows:?}");
        assert_eq!(rows.into_iter().collect::<BTreeSet<_>>(), *expected);
    }

    /// The broker has handled a packet: the model follows.
    pub(super) fn handled(&mut self, n: usize, packet: &Packet<'_>) {
        if let Packet::Publish(publish) = packet
            && publish.packet_id.is_some()
        {
            // What was written so far is of the message that had the identifier before.
            self.watch();
        }
        let conn = &self.conns[n];
        let c = conn.client;
        self.trace(n, &describe(packet));
        match packet {
            Packet::Connect(_) => {
                let plan = conn.plan.clone();
                self.totals.take_overs +=
                    u64::from(self.conns.iter().enumerate().any(|(other, conn)| {
                        other != n && conn.client == c && self.model.serves(other)
                    }));
                self.model.connect(Connecting {
                    conn: n,
                    id: &self.clients[c].id,
                    version: self.conns[n].version,
                    clean: plan.clean,
                    expiry_s: plan.expiry_s,
                    will: plan.will,
                    max_packet_size: plan.max_packet_size,
                });
            }
            Packet::Subscribe(subscribe) => {
                self.promise(n, subscribe.packet_id);
                let identifier =
                    subscribe.properties.subscription_identifiers().next().unwrap_or(0);
                for request in &subscribe.filters {
                    self.model.subscribed(n, request.filter, request.options, identifier);
                }
            }
            Packet::Unsubscribe(unsubscribe) => {
                if unsubscribe.filters.iter().any(|filter| self.model.is_subscribed(n, filter)) {
                    self.promise(n, unsubscribe.packet_id);
                }
                unsubscribe.filters.iter().for_each(|filter| self.model.unsubscribed(n, filter));
            }
            Packet::Publish(publish) => {
                if let Some(id) = publish.packet_id {
                    let payload = String::from_utf8_lossy(publish.payload).into_owned();
                    self.handled.insert((c, id.get()), payload);
                    let heard = self.ear.0.lock();
                    let mut clears = heard.iter().filter(|message| message.payload.is_empty());
                    if clears.any(|message| self.model.is_retained(&message.topic)) {
                        let pass = self.model.passes.now;
                        self.conns[n].promises.push(Promise { packet_id: id, pass });
                    }
                }
            }
            Packet::PubAck(ack) | Packet::PubRec(ack) if !ack.reason_code.is_error() => {
                if let Some(payload) = conn.sent.get(&ack.packet_id) {
                    self.model.taken_over(n, payload);
                }
            }
            _ => {}
        }
        self.listen();
    }

    /// The answer to what was just handled must wait for the disk.
    fn promise(&mut self, n: usize, packet_id: PacketId) {
        if self.model.lasts(n) {
            let pass = self.model.passes.now;
            self.conns[n].promises.push(Promise { packet_id, pass });
        }
    }

    /// Tells the model what was routed.
    pub(super) fn listen(&mut self) {
        let heard = std::mem::take(&mut *self.ear.0.lock());
        for message in heard {
            if self.is_traced {
                let payload = String::from_utf8_lossy(&message.payload);
                eprintln!("{} {} {} routed", message.topic, payload.trim_end(), message.qos);
            }
            self.totals.routed += 1;
            self.totals.wills += u64::from(message.payload.starts_with(b"will:"));
            self.model.route(&message);
        }
    }

    /// Looks at what the broker has written since: acknowledgements must not be there before their records.
    pub(super) fn watch(&mut self) {
        for (n, conn) in self.conns.iter_mut().enumerate() {
            let mut socket = conn.socket.lock();
            let Some(log) = socket.log.as_mut().filter(|log| !log.is_empty()) else { continue };
            conn.written.append(log);
            drop(socket);
            let mut at = 0;
            while let Some((packet, len)) =
                conn.watcher.decode(&conn.written[at..]).expect("the broker sends valid packets")
            {
                at += len;
                let Some(disk) = &self.disk else { continue };
                let mut answered = None;
                match &packet {
                    Packet::Publish(publish) => {
                        if let Some(id) = publish.packet_id {
                            let payload = String::from_utf8_lossy(publish.payload).into_owned();
                            conn.sent.insert(id, payload);
                        }
                    }
                    Packet::ConnAck(connack) => {
                        self.model.connack_left(n, connack.session_present, disk.synced());
                    }
                    Packet::SubAck(suback) => answered = Some(suback.packet_id),
                    Packet::UnsubAck(unsuback) => answered = Some(unsuback.packet_id),
                    Packet::PubAck(ack) | Packet::PubRec(ack) => answered = Some(ack.packet_id),
                    _ => {}
                }
                // The last words to a connection that was taken over are of what was safe before.
                if !self.model.serves(n) {
                    continue;
                }
                conn.promises.retain(|promise| {
                    let is_kept = self.model.passes.is_within(promise.pass, disk.synced());
                    let is_answer = answered == Some(promise.packet_id);
                    assert!(
                        !is_answer || is_kept,
                        "{} in {n} before it is safe",
                        describe(&packet)
                    );
                    !is_answer
                });
                let (Packet::PubAck(ack) | Packet::PubRec(ack)) = &packet else { continue };
                let Some(payload) = self.handled.get(&(conn.client, ack.packet_id.get())) else {
                    continue;
                };
                if let Some(pass) = self.model.must_be_recorded(payload) {
                    self.totals.waited_for_disk += 1;
                    // Others may have recorded it as well, and later.
                    let lsn = disk.first_end_of(payload);
                    assert!(
                        self.model.passes.is_within(pass, disk.synced())
                            && lsn.is_some_and(|lsn| lsn <= disk.durable()),
                        "{} in {n}: acknowledged {} of pass {pass} at {lsn:?} with {} safe",
                        describe(&packet),
                        payload.trim_end(),
                        disk.durable()
                    );
                }
            }
            conn.written.drain(..at);
        }
    }

    /// Every queue is bounded, whatever happens.
    pub(super) fn check_bounds(&self) {
        for client in &self.clients {
            let Some(view) = self.broker.session(&client.id) else { continue };
            let zone = &self.zone;
            let most = |limit: usize| if limit == 0 { usize::MAX } else { limit };
            let (queued, inflight) = self.restored.get(&client.id).copied().unwrap_or_default();
            assert!(view.queued <= most(zone.max_mqueue_len as usize).max(queued), "{view:?}");
            assert!(view.inflight <= most(zone.max_inflight.into()).max(inflight), "{view:?}");
            assert!(view.awaiting_rel <= zone.max_awaiting_rel.into(), "{view:?}");
            // One message beyond the bound, and the replies of one pass.
            assert!(view.outbox_bytes <= zone.max_outbox_bytes + 3_200 + 2_000, "{view:?}");
        }
    }

    /// What is still open.
    pub(super) fn unrest(&self) -> String {
        let mut words = String::new();
        for client in &self.clients {
            if !client.is_ready() {
                words += &format!(" {} not connected", client.id);
            }
            if !client.is_idle() {
                words += &format!(
                    " {} (MQTT {}) has open {:?}",
                    client.id,
                    client.version,
                    client.open_words()
                );
            }
            if let Some(view) = self.broker.session(&client.id)
                && view.queued + view.inflight + view.outbox_bytes > 0
            {
                words += &format!(" {} is owed {view:?}", client.id);
            }
        }
        words
    }
}
