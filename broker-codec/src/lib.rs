//! MQTT 3.1, 3.1.1 and 5.0 Control Packets: bytes to values and back.
//!
//! The crate knows nothing of brokers: no socket, no clock, no state but the protocol version that a
//! [`Decoder`] learns from CONNECT. Decoded packets borrow from the buffer they were read from, so a
//! PUBLISH that is forwarded at once costs no allocation.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod decode;
mod encode;
mod error;
mod packet;
mod primitive;
mod property;
mod reason_code;
pub mod topic;

pub use decode::Decoder;
pub use encode::{PublishFrames, PublishHeader, encode_publish, publish_len};
pub use error::DecodeError;
pub use packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketId, PacketKind, ProtocolVersion,
    Publish, QoS, RetainHandling, SubAck, Subscribe, SubscriptionOptions, SubscriptionRequest,
    UnsubAck, Unsubscribe, Will,
};
pub use property::{Properties, PropertiesBuf, PropertiesIter, Property, PropertyId};
pub use reason_code::ReasonCode;
