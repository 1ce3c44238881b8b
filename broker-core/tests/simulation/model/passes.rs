//! Passes: which of what the broker did has reached the disk.

/// A pass of one thread; all it records is one frame of the log.
pub type Pass = usize;

/// What was recorded in no pass.
pub const NEVER: Pass = 0;

/// The frames a log has when it holds a pass whole.
pub struct Passes {
    frames: Vec<usize>,
    /// The pass at work.
    pub now: Pass,
}

impl Default for Passes {
    fn default() -> Self {
        Self { frames: vec![usize::MAX], now: NEVER }
    }
}

impl Passes {
    /// A pass begins.
    pub fn begin(&mut self) -> Pass {
        self.frames.push(usize::MAX);
        self.now = self.frames.len() - 1;
        self.now
    }

    /// It has ended: the first `frames` frames of the log hold it.
    pub fn end(&mut self, pass: Pass, frames: usize) {
        self.frames[pass] = frames;
    }

    /// True if the first `frames` frames hold it.
    pub fn is_within(&self, pass: Pass, frames: usize) -> bool {
        self.frames[pass] <= frames
    }

    /// The process has died, and only so many frames are left: what was beyond them is lost for ever.
    pub fn lose(&mut self, frames: usize) {
        self.frames.iter_mut().filter(|at| **at > frames).for_each(|at| *at = usize::MAX);
    }

    /// True if it was not lost in a crash.
    pub fn is_kept(&self, pass: Pass) -> bool {
        self.frames[pass] < usize::MAX
    }
}

/// The passes that recorded a change: that in which it was made, and one that recorded all of its session.
#[derive(Debug, Clone, Copy, Default)]
pub struct When(Pass, Pass);

impl When {
    /// Recorded in `pass`.
    pub const fn in_pass(pass: Pass) -> Self {
        Self(pass, NEVER)
    }

    pub fn is_kept(self, passes: &Passes) -> bool {
        passes.is_kept(self.0) || passes.is_kept(self.1)
    }

    /// All of the session is recorded in `pass`.
    pub fn recorded_again(&mut self, pass: Pass) {
        if self.0 == NEVER {
            self.0 = pass;
        } else {
            self.1 = pass;
        }
    }
}
