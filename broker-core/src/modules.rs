//! Modules of EMQ X 3.1: topic rewrite and topic metrics. (Presence is in `events`, automatic
//! subscription in `channel::connect`.)

pub(crate) mod rewrite;
pub(crate) mod topic_metrics;
