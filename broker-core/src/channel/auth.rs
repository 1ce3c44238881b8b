//! Enhanced authentication: the AUTH exchange (MQTT 5.0, 4.12).

use std::sync::Arc;

use broker_codec::{Auth, Connect, Decoder, Packet, PropertiesBuf, Property, ReasonCode};

use super::{Admission, Authenticating, Channel, Close, Flow, State};
use crate::client::{ClientId, Peer};
use crate::extension::{AuthExchange, AuthMethod, AuthStep, Credentials};
use crate::turn::Turn;

/// A running exchange.
pub(super) struct Exchange {
    method: Box<str>,
    steps: Box<dyn AuthExchange>,
    /// The CONNECT it decides on, encoded; empty when a connected client authenticates again.
    connect: Vec<u8>,
}

impl Exchange {
    pub(super) fn for_connect(
        method: &dyn AuthMethod,
        credentials: &Credentials,
        connect: &Connect<'_>,
    ) -> Self {
        let mut bytes = Vec::new();
        Packet::Connect(connect.clone()).encode(connect.version, &mut bytes);
        Self { method: method.name().into(), steps: method.begin(credentials), connect: bytes }
    }
}

impl Channel {
    pub(super) fn begin_exchange(
        &mut self,
        client_id: &ClientId,
        exchange: Exchange,
        data: &[u8],
        turn: &mut Turn,
    ) -> Result<Flow, Close> {
        let State::AwaitConnect(waiting) = &self.state else {
            return Err(Close::protocol_error("second CONNECT"));
        };
        self.state = State::Authenticating(Box::new(Authenticating {
            peer: waiting.peer.clone(),
            deadline_ms: waiting.deadline_ms,
            client_id: client_id.clone(),
            exchange,
            admission: None,
            traffic: waiting.traffic,
        }));
        self.step(data, turn)
    }

    pub(super) fn handle_auth(&mut self, auth: &Auth<'_>, turn: &mut Turn) -> Result<Flow, Close> {
        let method = auth.properties.authentication_method();
        let data = auth.properties.authentication_data().unwrap_or_default();
        match &mut self.state {
            State::Authenticating(waiting) => {
                if let Some(admission) = waiting.admission.take() {
                    return self.conclude_exchange(admission, turn);
                }
                // [MQTT-4.12.0-3], [MQTT-4.12.0-5]
                if auth.reason_code != ReasonCode::ContinueAuthentication {
                    return Err(Close::protocol_error("AUTH that does not continue the exchange"));
                }
                if method != Some(&*waiting.exchange.method) {
                    return Err(Close::protocol_error("AUTH names another method"));
                }
                self.step(data, turn)
            }
            State::Connected(connected) => {
                // [MQTT-4.12.1-1]: only a client that came in this way may do so again.
                let Some(proof) = &mut connected.auth else {
                    return Err(Close::protocol_error("AUTH without authentication method"));
                };
                if method != Some(&*proof.method) {
                    return Err(Close::protocol_error("AUTH names another method"));
                }
                if auth.reason_code == ReasonCode::ReAuthenticate {
                    let methods = &turn.extensions.auth_methods;
                    let Some(method) = methods.iter().find(|m| m.name() == &*proof.method) else {
                        return Err(Close::violation(
                            ReasonCode::NotAuthorized,
                            "the authentication method is gone",
                        ));
                    };
                    let credentials = Credentials {
                        client_id: connected.client.client_id.clone(),
                        username: connected.client.username.clone(),
                        password: None,
                        version: self.version,
                        peer: Peer {
                            addr: connected.client.peer,
                            local_addr: connected.client.local_addr,
                            certificate: connected.client.certificate.clone(),
                            ws_cookies: connected.client.ws_cookies.clone(),
                            ..Peer::new(
                                Arc::clone(&connected.client.listener),
                                Arc::clone(&connected.client.zone),
                            )
                        },
                    };
                    let steps = method.begin(&credentials);
                    proof.exchange =
                        Some(Exchange { method: method.name().into(), steps, connect: Vec::new() });
                } else if auth.reason_code != ReasonCode::ContinueAuthentication
                    || proof.exchange.is_none()
                {
                    return Err(Close::protocol_error("AUTH that continues nothing"));
                }
                self.step_again(data, turn)
            }
            State::AwaitConnect(_) | State::Closed => {
                Err(Close::protocol_error("AUTH before CONNECT"))
            }
        }
    }

    /// One step towards an accepted CONNECT.
    fn step(&mut self, data: &[u8], turn: &mut Turn) -> Result<Flow, Close> {
        let State::Authenticating(waiting) = &mut self.state else {
            return Err(Close::protocol_error("AUTH out of place"));
        };
        let exchange = &mut waiting.exchange;
        match exchange.steps.handle(data) {
            AuthStep::Continue(answer) => {
                let method = exchange.method.clone();
                self.send_auth(ReasonCode::ContinueAuthentication, &method, &answer, turn)?;
                self.write_reply(turn);
                Ok(Flow::Next)
            }
            AuthStep::Deny(reason_code) => Err(self.refuse(reason_code, turn)),
            AuthStep::Success { data, username, superuser } => {
                let admission = Admission::Admitted {
                    superuser,
                    username,
                    auth_data: data,
                    until_ms: u64::MAX,
                };
                self.conclude_exchange(admission, turn)
            }
        }
    }

    /// The exchange has let the client in: goes on with the CONNECT that it began with.
    pub(super) fn conclude_exchange(
        &mut self,
        admission: Admission,
        turn: &mut Turn,
    ) -> Result<Flow, Close> {
        let State::Authenticating(waiting) = &mut self.state else {
            return Err(Close::protocol_error("AUTH out of place"));
        };
        let bytes = std::mem::take(&mut waiting.exchange.connect);
        let peer = waiting.peer.clone();
        let mut decoder = Decoder::for_server(u32::MAX);
        let result = match decoder.decode(&bytes) {
            Ok(Some((Packet::Connect(connect), _))) => {
                let result = self.conclude_connect(&connect, &peer, admission, turn);
                self.observe_refusal(&connect, &result, turn);
                result
            }
            _ => Err(self.refuse(ReasonCode::UnspecifiedError, turn)),
        };
        if let (Ok(Flow::Wait(_)), State::Authenticating(waiting)) = (&result, &mut self.state) {
            waiting.exchange.connect = bytes;
        }
        result
    }

    /// One step of a connected client that proves itself again.
    fn step_again(&mut self, data: &[u8], turn: &mut Turn) -> Result<Flow, Close> {
        let State::Connected(connected) = &mut self.state else {
            return Err(Close::protocol_error("AUTH out of place"));
        };
        let exchange = connected.auth.as_mut().and_then(|proof| proof.exchange.take());
        let Some(mut exchange) = exchange else {
            return Err(Close::protocol_error("AUTH that continues nothing"));
        };
        let method = exchange.method.clone();
        match exchange.steps.handle(data) {
            AuthStep::Continue(answer) => {
                if let Some(proof) = &mut connected.auth {
                    proof.exchange = Some(exchange);
                }
                self.send_auth(ReasonCode::ContinueAuthentication, &method, &answer, turn)?;
            }
            AuthStep::Success { username: Some(name), .. }
                if Some(&name) != connected.client.username.as_ref() =>
            {
                // What the client does was allowed to the user it was; it cannot become another.
                return Err(Close::violation(
                    ReasonCode::NotAuthorized,
                    "re-authentication as another user",
                ));
            }
            AuthStep::Success { data, .. } => {
                self.send_auth(ReasonCode::Success, &method, &data, turn)?;
            }
            // [MQTT-4.12.1-2]. Of the Reason Codes of CONNACK this is the one that DISCONNECT has too.
            AuthStep::Deny(_) => {
                return Err(Close::violation(
                    ReasonCode::NotAuthorized,
                    "re-authentication failed",
                ));
            }
        }
        Ok(Flow::Next)
    }

    fn send_auth(
        &self,
        reason_code: ReasonCode,
        method: &str,
        data: &[u8],
        turn: &mut Turn,
    ) -> Result<(), Close> {
        let mut properties = PropertiesBuf::new();
        properties.push(Property::AuthenticationMethod(method));
        if !data.is_empty() {
            properties.push(Property::AuthenticationData(data));
        }
        let properties = properties.as_properties();
        self.reply_if_taken(&Packet::Auth(Auth { reason_code, properties }), turn)
    }
}
