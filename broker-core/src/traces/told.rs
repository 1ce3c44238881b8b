//! What routing, sessions and events tell the traces.

use std::fmt;
use std::sync::Arc;

use super::{Happening, Quoted, TraceEventKind};
use crate::client::ClientInfo;
use crate::events::DeliveredFlags;
use crate::message::Publication;
use crate::session::Session;
use crate::session::subscriptions::Subscription;
use crate::turn::{Out, Turn};

impl Out {
    /// A PUBLISH was written for a client.
    #[cold]
    pub(crate) fn trace_delivered(
        &self,
        client: &ClientInfo,
        flags: DeliveredFlags,
        topic: &str,
        payload: &[u8],
    ) {
        let happening =
            Happening::to(client, TraceEventKind::Delivered).on(topic).carrying(payload);
        let DeliveredFlags { dup, qos, retain } = flags;
        let (topic, qos, bytes) = (Quoted(topic), qos.bits(), payload.len());
        let text = format_args!("topic={topic} qos={qos} retain={retain} dup={dup} bytes={bytes}");
        self.tracer.tell(self.now, &happening, text);
    }
}

impl Turn {
    /// Tells the traces of something, if there are any.
    pub(crate) fn trace(&self, happening: &Happening<'_>, text: fmt::Arguments<'_>) {
        if self.out.tracer.is_on() {
            self.out.tracer.tell(self.now, happening, text);
        }
    }

    #[cold]
    pub(crate) fn trace_publish(&self, publication: &Publication<'_>) {
        let happening =
            Happening::with(publication, TraceEventKind::Publish).carrying(publication.payload);
        let Publication { topic, qos, retain, payload, .. } = publication;
        let (topic, qos, bytes) = (Quoted(topic), qos.bits(), payload.len());
        self.trace(
            &happening,
            format_args!("topic={topic} qos={qos} retain={retain} bytes={bytes}"),
        );
    }

    #[cold]
    pub(crate) fn trace_routed(
        &self,
        publication: &Publication<'_>,
        receivers: usize,
        is_unwanted: bool,
    ) {
        let topic = Quoted(publication.topic);
        if is_unwanted {
            let happening = Happening::with(publication, TraceEventKind::Dropped);
            self.trace(&happening, format_args!("no_subscribers topic={topic}"));
        } else {
            let happening = Happening::with(publication, TraceEventKind::Routed);
            self.trace(&happening, format_args!("topic={topic} receivers={receivers}"));
        }
    }

    pub(crate) fn trace_subscription(
        &self,
        client: &ClientInfo,
        subscription: &Subscription,
        kind: TraceEventKind,
    ) {
        if self.out.tracer.is_on() {
            let happening = Happening::to(client, kind).on(subscription.route());
            let (filter, qos) = (Quoted(&subscription.filter), subscription.options.qos.bits());
            self.trace(&happening, format_args!("filter={filter} qos={qos}"));
        }
    }

    /// Another connection has taken the session of `old` over.
    pub(crate) fn trace_takeover(&self, old: &ClientInfo, new: &ClientInfo) {
        let happening = Happening::to(old, TraceEventKind::Takeover);
        match new.peer {
            Some(peer) => self.trace(&happening, format_args!("by a connection from {peer}")),
            None => self.trace(&happening, format_args!("by another connection")),
        }
    }

    #[cold]
    pub(crate) fn trace_connected(
        &self,
        client: &ClientInfo,
        session: &Arc<Session>,
        is_resumed: bool,
        expiry_s: u32,
    ) {
        let (listener, keep_alive_s) = (&client.listener, client.keep_alive_s);
        self.trace(
            &Happening::to(client, TraceEventKind::Connected),
            format_args!("listener={listener} keep_alive_s={keep_alive_s}"),
        );
        let (subscriptions, queued, inflight) = {
            let state = session.lock();
            (state.subscriptions.len(), state.queue.len(), state.inflight.len())
        };
        let what = if is_resumed { "resumed" } else { "created" };
        self.trace(
            &Happening::to(client, TraceEventKind::Session),
            format_args!(
                "{what} expiry_s={expiry_s} subscriptions={subscriptions} queued={queued} inflight={inflight}"
            ),
        );
    }
}
