//! Numbers of JSON: an integer of 64 bits, or else a float.

use super::Reader;
use crate::value::Value;

impl Reader<'_> {
    /// A number that begins here.
    #[inline(never)]
    pub(super) fn number(&mut self, to: &mut Value) -> Option<()> {
        let start = self.at;
        let is_negative = self.take(b'-');
        let mut digits = Digits::default();
        let first = self.at;
        self.digits(&mut digits);
        // There is one at least, and a zero in front stands alone.
        if self.at == first || (self.bytes[first] == b'0' && self.at > first + 1) {
            return None;
        }
        if !matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            match digits.value {
                Some(value) if value < 1 << 63 => {
                    let value = value.cast_signed();
                    *to = Value::Int(if is_negative { -value } else { value });
                }
                _ => *to = self.long_integer(start)?,
            }
            return Some(());
        }
        let mut exponent = 0;
        if self.take(b'.') {
            let point = self.at;
            self.digits(&mut digits);
            if self.at == point {
                return None;
            }
            exponent = -i32::try_from(self.at - point).ok()?;
        }
        if self.take(b'e') || self.take(b'E') {
            exponent = self.exponent()?.checked_add(exponent)?;
        }
        let exact = digits.value.and_then(|value| float(value, exponent));
        let float = match exact {
            Some(float) => {
                if is_negative {
                    -float
                } else {
                    float
                }
            }
            None => self.utf8[start..self.at].parse().ok()?,
        };
        *to = Value::Float(float);
        float.is_finite().then_some(())
    }

    fn digits(&mut self, digits: &mut Digits) {
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            digits.push(digit - b'0');
            self.at += 1;
        }
    }

    /// An exponent; a very large one is as good as the largest.
    fn exponent(&mut self) -> Option<i32> {
        let is_negative = self.take(b'-');
        if !is_negative {
            self.take(b'+');
        }
        let start = self.at;
        let mut exponent = 0_i32;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            exponent = exponent.saturating_mul(10).saturating_add((digit - b'0').into());
            self.at += 1;
        }
        // Far from the edges, so that the decimals can be added.
        let exponent = exponent.min(1 << 30);
        (self.at > start).then_some(if is_negative { -exponent } else { exponent })
    }

    fn long_integer(&self, start: usize) -> Option<Value> {
        let text = &self.utf8[start..self.at];
        if let Ok(int) = text.parse() {
            return Some(Value::Int(int));
        }
        text.parse().ok().filter(|float: &f64| float.is_finite()).map(Value::Float)
    }
}

/// The digits of a number as an integer, as long as they fit.
struct Digits {
    value: Option<u64>,
}

impl Default for Digits {
    fn default() -> Self {
        Self { value: Some(0) }
    }
}

impl Digits {
    fn push(&mut self, digit: u8) {
        let pushed = |value: u64| value.checked_mul(10)?.checked_add(digit.into());
        self.value = self.value.and_then(pushed);
    }
}

/// `value` times ten to the power of `exponent`, if both are exact as floats: then one rounding is the right one.
#[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
fn float(value: u64, exponent: i32) -> Option<f64> {
    if value > 1 << 53 {
        return None;
    }
    let power = *POWERS.get(usize::try_from(exponent.unsigned_abs()).ok()?)?;
    Some(if exponent < 0 { value as f64 / power } else { value as f64 * power })
}

const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];
