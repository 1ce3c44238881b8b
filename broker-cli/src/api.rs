//! The management API of a running broker: where it is, what is sent, and what an answer means.

mod client;
mod error;
mod options;
mod pages;
mod path;

pub(crate) use client::{Answer, Api};
pub(crate) use error::ApiError;
pub(crate) use options::{ApiOptions, Format};
pub(crate) use pages::Rows;
pub(crate) use path::Path;
