//! What a handler answers, in the envelope of the original.

use serde::Serialize;

use crate::error::{ApiError, Code};
use crate::page::Page;

/// An answer, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
}

/// What handlers return.
pub(crate) type Answer = Result<Reply, ApiError>;

#[derive(Serialize)]
struct Envelope<T, M = Meta> {
    code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<M>,
}

#[derive(Serialize)]
struct Meta {
    page: u64,
    limit: usize,
    count: usize,
}

impl Reply {
    pub(crate) const JSON: &'static str = "application/json";

    /// `{"code":0}`
    pub(crate) fn ok() -> Answer {
        Self::envelope(&Envelope::<(), Meta> { code: 0, data: None, meta: None })
    }

    /// `{"code":0,"data":…}`
    pub(crate) fn data(data: impl Serialize) -> Answer {
        Self::envelope(&Envelope::<_, Meta> { code: 0, data: Some(data), meta: None })
    }

    /// The same with a `meta` of its own.
    pub(crate) fn data_with(data: impl Serialize, meta: impl Serialize) -> Answer {
        Self::envelope(&Envelope { code: 0, data: Some(data), meta: Some(meta) })
    }

    /// The rows of one page; `count` is that of all pages.
    pub(crate) fn page(rows: &[impl Serialize], page: Page, count: usize) -> Answer {
        let meta = Some(Meta { page: page.number, limit: page.limit, count });
        Self::envelope(&Envelope { code: 0, data: Some(rows), meta })
    }

    /// Something other than JSON.
    pub(crate) fn text(content_type: &'static str, body: impl Into<String>) -> Self {
        Self { status: 200, content_type, body: body.into().into_bytes() }
    }

    /// An envelope with more beside `data`.
    pub(crate) fn whole(envelope: &serde_json::Value) -> Answer {
        Self::envelope(envelope)
    }

    fn envelope(envelope: &impl Serialize) -> Answer {
        match serde_json::to_vec(envelope) {
            Ok(body) => Ok(Self { status: 200, content_type: Self::JSON, body }),
            Err(error) => Err(ApiError::new(Code::Unknown, error).with_status(500)),
        }
    }
}
