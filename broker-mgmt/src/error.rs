//! Failures as the API tells of them: an HTTP status, a code of the original's table, a text.

use std::fmt;

use crate::reply::Reply;

/// Codes of the original; the document lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Code {
    /// What has no code of its own.
    Unknown = 102,
    /// A parameter that must be there is not.
    Missing = 107,
    /// A parameter has a wrong type or value.
    BadParameter = 108,
    /// The body is not JSON.
    NotJson = 109,
    /// The client is not connected, or has no session.
    NoClient = 112,
    /// What is no Topic Name, or no Topic Filter.
    BadTopic = 115,
    /// Of rules and resources, where the original has the codes of HTTP: something is not in order.
    BadArguments = 400,
    /// It is not there.
    NotFound = 404,
    /// The body is.
    TooLarge = 413,
    /// At once.
    TooMany = 429,
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ApiError {
    status: u16,
    code: Code,
    message: String,
}

impl ApiError {
    /// A failure that the original reports in the envelope, with HTTP status 200: clients look at the code.
    pub(crate) fn new(code: Code, message: impl fmt::Display) -> Self {
        Self { status: 200, code, message: message.to_string() }
    }

    /// A parameter `name` that is wrong: `qos: must be 0, 1 or 2`.
    pub(crate) fn bad(name: &str, problem: impl fmt::Display) -> Self {
        Self::new(Code::BadParameter, format_args!("{name}: {problem}"))
    }

    /// A request that is wrong as such.
    pub(crate) fn request(code: Code, message: impl fmt::Display) -> Self {
        Self { status: 400, ..Self::new(code, message) }
    }

    /// The same with another HTTP status.
    pub(crate) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// The same with its code as HTTP status, if it is one.
    pub(crate) fn with_status_of_code(self) -> Self {
        match self.code {
            Code::BadArguments | Code::NotFound | Code::TooLarge | Code::TooMany => {
                let status = self.code as u16;
                self.with_status(status)
            }
            _ => self,
        }
    }

    pub(crate) fn into_reply(self) -> Reply {
        let envelope =
            serde_json::json!({ "code": self.code as u16, "message": self.message }).to_string();
        Reply { status: self.status, content_type: Reply::JSON, body: envelope.into_bytes() }
    }
}
