//! Network: bytes on their way, sockets that take them in pieces, connections that end.

use broker_codec::Packet;
use broker_core::{Close, CloseCause, Flow};

use super::World;

impl World {
    /// Some bytes of some connection arrive.
    pub(super) fn deliver_some(&mut self) {
        let open: Vec<_> = (0..self.conns.len()).filter(|n| !self.conns[*n].is_closed).collect();
        if open.is_empty() {
            return;
        }
        let n = *self.rng.pick(&open);
        let conn = &mut self.conns[n];
        if conn.on_the_way.is_empty() && conn.is_cut {
            return self.close(n, &CloseCause::ConnectionLost.into());
        }
        let most = conn.on_the_way.len();
        let count = if self.rng.chance(70) { most } else { self.rng.below(most + 1) };
        let bytes: Vec<_> = self.conns[n].on_the_way.drain(..count).collect();
        self.conns[n].unhandled.extend(bytes);
        let t = self.thread_of(n);
        self.feed(n, t);
        self.leave(t);
    }

    /// One pass over one connection, as a shell makes it.
    pub(super) fn feed(&mut self, n: usize, t: usize) {
        let mut result = Ok(());
        let mut new_expiry_s = None;
        let bytes = std::mem::take(&mut self.conns[n].unhandled);
        let mut at = 0;
        while !self.conns[n].is_closed && self.conns[n].channel.wants_input() {
            let conn = &mut self.conns[n];
            let decoded = conn.decoder.decode(&bytes[at..]).expect("clients send valid packets");
            let Some((packet, len)) = decoded else { break };
            let turn = &mut self.threads[t].turn;
            let n_delayed = self.broker.delayed_len();
            match conn.channel.handle_packet(&packet, turn) {
                Ok(Flow::Next) => {
                    at += len;
                    if let Packet::Publish(publish) = &packet
                        && self.broker.delayed_len() > n_delayed
                    {
                        let id = &self.clients[self.conns[n].client].id;
                        self.model.delayed(id, &String::from_utf8_lossy(publish.payload));
                        self.totals.delayed += 1;
                    }
                    self.handled(n, &packet);
                }
                Ok(_) => panic!("nothing waits in this world"),
                Err(close) => {
                    if let Packet::Disconnect(disconnect) = &packet {
                        new_expiry_s = disconnect.properties.session_expiry_interval();
                    }
                    result = Err(close);
                    break;
                }
            }
        }
        self.conns[n].unhandled = bytes[at..].to_vec();
        let ended = self.conns[n].channel.end_turn(&mut self.threads[t].turn);
        if let Err(close) = result.and(ended) {
            self.close_in(n, &close, new_expiry_s, t);
        }
    }

    pub(super) fn trace(&self, n: usize, what: &str) {
        if self.is_traced {
            let (ms, id) = (self.now.mono_ms, &self.clients[self.conns[n].client].id);
            eprintln!("{ms:8} {id} in connection {n}: {what}");
        }
    }

    pub(super) fn close(&mut self, n: usize, close: &Close) {
        let t = self.thread_of(n);
        self.close_in(n, close, None, t);
        self.leave(t);
    }

    pub(super) fn close_in(&mut self, n: usize, close: &Close, expiry_s: Option<u32>, t: usize) {
        let expected = matches!(
            close.cause,
            CloseCause::ClientDisconnected
                | CloseCause::ClientDisconnectedWithWill
                | CloseCause::ConnectionLost
                | CloseCause::TakenOver
                | CloseCause::Kicked
                | CloseCause::ConnectTimeout
        );
        assert!(expected, "{}: closed by {close:?}", self.clients[self.conns[n].client].id);
        self.trace(n, &format!("closed, {:?}", close.cause));
        self.conns[n].channel.handle_closed(close, &mut self.threads[t].turn);
        self.conns[n].is_closed = true;
        // A Will was routed before the session of a closed connection ended.
        self.listen();
        self.model.closed(n, close.cause, expiry_s);
    }

    pub(super) fn client_reads(&mut self, c: usize) {
        let Some(link) = &self.clients[c].link else { return };
        let n = link.conn;
        if self.rng.chance(40) {
            let bytes = self.clients[c].send_owed();
            return self.send_bytes(c, &bytes);
        }
        let mut socket = self.conns[n].socket.lock();
        let most = socket.unread.len();
        let count = if self.rng.chance(60) { most } else { self.rng.below(most + 1) };
        let bytes: Vec<_> = socket.unread.drain(..count).collect();
        let is_at_end = socket.unread.is_empty() && self.conns[n].is_closed;
        drop(socket);
        let reply = self.clients[c].read(&bytes, &mut self.model, &mut self.rng);
        self.send_bytes(c, &reply);
        if is_at_end {
            self.clients[c].hang_up();
        }
    }

    /// Wakes and sockets that take bytes again; with `by_chance` some are seen only later.
    pub(super) fn look_at_sockets(&mut self, by_chance: bool) {
        for n in 0..self.conns.len() {
            if self.conns[n].is_closed || (by_chance && self.rng.chance(30)) {
                continue;
            }
            let (was_woken, is_writable) = {
                let mut socket = self.conns[n].socket.lock();
                let has_room = socket.unread.len() < socket.capacity || socket.is_lost;
                let is_writable = socket.was_refused && has_room;
                socket.was_refused &= !is_writable;
                (std::mem::take(&mut socket.was_woken), is_writable)
            };
            if !was_woken && !is_writable {
                continue;
            }
            let t = self.thread_of(n);
            if is_writable {
                self.conns[n].channel.handle_writable(&mut self.threads[t].turn);
                self.feed(n, t);
            }
            if was_woken && !self.conns[n].is_closed {
                match self.conns[n].channel.handle_wake(&mut self.threads[t].turn) {
                    Ok(()) => self.feed(n, t),
                    Err(close) => self.close_in(n, &close, None, t),
                }
            }
            self.leave(t);
        }
    }
}
