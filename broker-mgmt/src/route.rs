//! One entry of the API: what `GET /api/v3/` lists, what requests are matched with, what OpenAPI tells of it.

use std::borrow::Cow;
use std::fmt;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use crate::api::Api;
use crate::reply::Answer;
use crate::request::Request;

/// Answers one request; may block.
pub(crate) type Handler = fn(&Api, &Request) -> Answer;

/// One entry of the API. Made by [`get`], [`post`], [`put`] and [`delete`].
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) name: &'static str,
    pub(crate) method: Method,
    /// As the document prints it, `nodes/:node/connections/`; slashes at its ends do not matter.
    pub(crate) path: &'static str,
    pub(crate) descr: &'static str,
    pub(crate) handler: Handler,
    /// Whether `GET /api/v3/` tells of it; what the document's list lacks is not to be there.
    pub(crate) is_listed: bool,
    /// The plugin it belongs to: unless that is active, the path leads nowhere, though it is listed.
    pub(crate) plugin: Option<&'static str>,
    /// Its handler waits for somebody else, for seconds perhaps.
    pub(crate) waits: bool,
    /// Parameters of the query, by name, with what they say; besides those of a page.
    pub(crate) query: &'static [(&'static str, &'static str)],
    pub(crate) body: Option<Shape>,
    pub(crate) needs_body: bool,
    pub(crate) answer: Data,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
    Put,
    Delete,
}

/// What `data` of an answer is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Data {
    /// There is none: `{"code":0}`.
    None,
    One(Shape),
    List(Shape),
    /// A list with `meta`, which takes `_page` and `_limit`.
    Page(Shape),
    /// No envelope, but a file of this content type.
    File(&'static str),
}

/// A type of a body or an answer.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) name: fn() -> Cow<'static, str>,
    pub(crate) schema: fn() -> RefOr<Schema>,
    /// Of the types inside.
    pub(crate) schemas: fn(&mut Vec<(String, RefOr<Schema>)>),
}

pub(crate) const fn get(
    name: &'static str,
    path: &'static str,
    descr: &'static str,
    handler: Handler,
) -> Route {
    Route::new(Method::Get, name, path, descr, handler)
}

pub(crate) const fn post(
    name: &'static str,
    path: &'static str,
    descr: &'static str,
    handler: Handler,
) -> Route {
    Route::new(Method::Post, name, path, descr, handler)
}

pub(crate) const fn put(
    name: &'static str,
    path: &'static str,
    descr: &'static str,
    handler: Handler,
) -> Route {
    Route::new(Method::Put, name, path, descr, handler)
}

pub(crate) const fn delete(
    name: &'static str,
    path: &'static str,
    descr: &'static str,
    handler: Handler,
) -> Route {
    Route::new(Method::Delete, name, path, descr, handler)
}

impl Route {
    const fn new(
        method: Method,
        name: &'static str,
        path: &'static str,
        descr: &'static str,
        handler: Handler,
    ) -> Self {
        Self {
            name,
            method,
            path,
            descr,
            handler,
            is_listed: true,
            plugin: None,
            waits: false,
            query: &[],
            body: None,
            needs_body: false,
            answer: Data::None,
        }
    }

    /// Keeps it out of the list.
    pub(crate) const fn unlisted(mut self) -> Self {
        self.is_listed = false;
        self
    }

    /// Belongs to a plugin.
    pub(crate) const fn of_plugin(mut self, plugin: &'static str) -> Self {
        self.plugin = Some(plugin);
        self
    }

    /// Its handler gets a thread of its own: it waits for somebody else.
    pub(crate) const fn waits(mut self) -> Self {
        self.waits = true;
        self
    }

    /// Its query may have these parameters.
    pub(crate) const fn asks(mut self, query: &'static [(&'static str, &'static str)]) -> Self {
        self.query = query;
        self
    }

    /// Its body is a `T`.
    pub(crate) const fn takes<T: ToSchema>(mut self) -> Self {
        self.body = Some(Shape::of::<T>());
        self.needs_body = true;
        self
    }

    /// It may have a body, a `T`.
    pub(crate) const fn may_take<T: ToSchema>(mut self) -> Self {
        self.body = Some(Shape::of::<T>());
        self
    }

    /// `data` is a `T`.
    pub(crate) const fn answers<T: ToSchema>(mut self) -> Self {
        self.answer = Data::One(Shape::of::<T>());
        self
    }

    /// `data` is an array of `T`.
    pub(crate) const fn lists<T: ToSchema>(mut self) -> Self {
        self.answer = Data::List(Shape::of::<T>());
        self
    }

    /// `data` is a page of `T`.
    pub(crate) const fn pages<T: ToSchema>(mut self) -> Self {
        self.answer = Data::Page(Shape::of::<T>());
        self
    }

    /// Its answer is a file.
    pub(crate) const fn sends(mut self, content_type: &'static str) -> Self {
        self.answer = Data::File(content_type);
        self
    }
}

impl Method {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [Self::Get, Self::Post, Self::Put, Self::Delete].into_iter().find(|it| it.word() == word)
    }
}

impl Shape {
    pub(crate) const fn of<T: ToSchema>() -> Self {
        Self {
            name: <T as ToSchema>::name,
            schema: <T as PartialSchema>::schema,
            schemas: <T as ToSchema>::schemas,
        }
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&(self.name)())
    }
}
