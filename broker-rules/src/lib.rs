//! EMQ X's SQL rule engine: a statement looks at every message or event of a kind, makes a row of it, and hands
//! the row to actions.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod action;
mod actions;
mod bridge_mqtt;
pub mod engine;
mod error;
mod eval;
pub mod event;
pub mod functions;
pub mod http;
mod limits;
mod object_template;
pub mod params;
mod path;
mod plan;
mod remote;
mod row;
mod select;
mod sink;
pub mod sql;
mod statement;
mod template;
mod text;
mod value;
mod web_hook;

pub use bridge_mqtt::Bridge;
pub use error::RowError;
pub use limits::Limits;
pub use remote::{AddressRange, AddressRules, BadAddressRange, Forbidden, OpenSinks, RemoteHost};
pub use row::Row;
pub use select::{Compile, Select, Selected};
pub use sink::{
    Clock, DropReason, Held, Item, Owner, PushError, Remote, RemoteSink, Report, SinkConfig,
    SinkListener, SinkStatus, Trouble,
};
pub use statement::compiler;
pub use template::{Template, TopicTemplateError, check_topic};
pub use value::{Map, Value};
pub use web_hook::{WebHook, post_item, post_to};
