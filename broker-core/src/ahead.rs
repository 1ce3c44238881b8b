//! Ahead: who sends faster than its receivers take.

/// What has become of the messages that a channel brought in its turn.
#[derive(Default)]
pub(crate) struct Fates {
    /// One at least waits behind others for a client that is there.
    pub(crate) one_waits: bool,
    /// One at least has left, or somebody has seen it.
    pub(crate) one_has_left: bool,
}

impl Fates {
    /// True if all that was brought waits behind what was there before.
    pub(crate) const fn all_wait(&self) -> bool {
        self.one_waits && !self.one_has_left
    }
}
