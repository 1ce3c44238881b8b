//! `openapi.json` and `docs`: the API told to programs, and to people.

use super::Api;
use crate::openapi;
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, get};

pub(crate) const ROUTES: &[Route] = &[
    get("get_openapi", "/openapi.json", "This API as OpenAPI 3.1", description)
        .unlisted()
        .sends(Reply::JSON),
    get("get_docs", "/docs", "This API as a page to read", page).unlisted().sends(HTML),
];

fn description(_: &Api, _: &Request) -> Answer {
    Ok(Reply::text(Reply::JSON, openapi::text()))
}

fn page(_: &Api, _: &Request) -> Answer {
    Ok(Reply::text(HTML, PAGE))
}

const HTML: &str = "text/html; charset=utf-8";
/// Whole in itself: it loads `openapi.json` from beside it and nothing else.
const PAGE: &str = include_str!("../../static/docs.html");
