//! Time as an argument: the core never asks for it.

/// A reading of both clocks, taken by the shell once per turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Milliseconds of a clock that never goes back; its zero is the shell's choice.
    pub mono_ms: u64,
    /// Milliseconds since the Unix epoch.
    pub wall_ms: u64,
}

impl Now {
    /// The same moment, later.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self { mono_ms: self.mono_ms + ms, wall_ms: self.wall_ms + ms }
    }
}
