//! Random: a small seeded generator, so that a test repeats what it has found.

/// A xorshift64* generator. Good enough to choose sectors, for nothing else.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The row of numbers that belongs to `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // Seeds that are close together must not begin alike; 0 would stay 0.
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d | 1);
        random.next();
        random.next();
        random
    }

    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "there is always one more")]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { (self.next() >> 16) % bound }
    }
}
