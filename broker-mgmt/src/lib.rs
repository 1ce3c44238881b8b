//! The management API of EMQ X 3.1, `/api/v3`: HTTP on threads of its own, beside the data path.
//!
//! [`Management::start`] serves a [`Broker`](broker_core::Broker) through the control plane that the core has.
//! What neither knows, such as the memory of the process, comes in through the traits of [`ports`].
//!
//! A request takes this way: `server` accepts it and reads its body, `auth` names who asks, `dispatch`
//! finds the route, a handler in `api` answers from the broker, on a thread that may block.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod api;
mod applications;
mod aside;
mod auth;
mod dispatch;
mod error;
mod listeners;
mod openapi;
mod options;
mod page;
pub mod ports;
mod prometheus;
mod reply;
mod request;
mod route;
mod saving;
mod server;
mod site;
mod text;
mod users;

pub use options::{DefaultUser, ListenerOptions, ManagementOptions, Secret, TlsOptions, Vouched};
pub use server::{Bound, Management, StartError};
