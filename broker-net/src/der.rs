//! DER as far as certificates, revocation lists and OCSP need it: elements one after the other, and times.
//!
//! The few fields walked over do not warrant a parser crate. What does not decode is absent, never a panic; signatures
//! are checked by webpki and ring, not here.

/// A run of DER elements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Der<'a>(pub(crate) &'a [u8]);

impl<'a> Der<'a> {
    /// Tag and content of the next element; `None` also for a tag of several bytes and for a length that is not given
    /// before the content, which DER has not.
    pub(crate) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&len, mut rest) = rest.split_first()?;
        if tag & TAG_NUMBER == TAG_NUMBER || len == LEN_INDEFINITE {
            return None;
        }
        let mut len = usize::from(len);
        if len >= 0x80 {
            // Four bytes of length are more than anything here has.
            let (bytes, after) = rest.split_at_checked(len - 0x80).filter(|(n, _)| n.len() <= 4)?;
            len = bytes.iter().fold(0, |len, &byte| len << 8 | usize::from(byte));
            rest = after;
        }
        let (content, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The next element with its tag and length.
    pub(crate) fn whole(&mut self) -> Option<&'a [u8]> {
        let before = self.0;
        self.next()?;
        Some(&before[..before.len() - self.0.len()])
    }

    /// The next element, which must have this tag.
    pub(crate) fn expect(&mut self, expected: u8) -> Option<Self> {
        self.next().filter(|(tag, _)| *tag == expected).map(|(_, content)| Self(content))
    }

    /// The next element if it has this tag; otherwise nothing is taken.
    pub(crate) fn optional(&mut self, tag: u8) -> Option<Self> {
        if self.0.first() == Some(&tag) { self.expect(tag) } else { None }
    }

    /// A UTCTime or GeneralizedTime as RFC 5280 has them, in seconds since the Unix epoch.
    pub(crate) fn time(&mut self) -> Option<u64> {
        let (tag, text) = self.next()?;
        seconds(tag, text)
    }
}

/// One element whose content are these parts.
pub(crate) fn encode(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    if let Ok(short @ 0..0x80) = u8::try_from(len) {
        out.push(short);
    } else {
        let bytes = len.to_be_bytes();
        let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
        out.push(0x80 | bytes.len() as u8);
        out.extend_from_slice(bytes);
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn seconds(tag: u8, text: &[u8]) -> Option<u64> {
    let n_year = match tag {
        TAG_UTC_TIME => 2,
        TAG_GENERALIZED_TIME => 4,
        _ => return None,
    };
    let digits = text.strip_suffix(b"Z")?;
    if digits.len() != n_year + 10 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |from: usize, len: usize| {
        digits[from..from + len].iter().fold(0u64, |n, digit| n * 10 + u64::from(digit - b'0'))
    };
    let year = match (n_year, number(0, n_year)) {
        // RFC 5280, 4.1.2.5.1.
        (2, year) if year >= 50 => 1900 + year,
        (2, year) => 2000 + year,
        (_, year) => year,
    };
    let [month, day, hour, minute, second] = [0, 2, 4, 6, 8].map(|at| number(n_year + at, 2));
    let is_time = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !is_time || year < 1970 {
        return None;
    }
    // Days of the civil calendar, counted in years that begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    days.checked_sub(DAYS_TO_1970).map(|days| days * 86_400 + hour * 3_600 + minute * 60 + second)
}

pub(crate) const TAG_BOOLEAN: u8 = 0x01;
pub(crate) const TAG_INTEGER: u8 = 0x02;
pub(crate) const TAG_BIT_STRING: u8 = 0x03;
pub(crate) const TAG_OCTET_STRING: u8 = 0x04;
pub(crate) const TAG_OID: u8 = 0x06;
pub(crate) const TAG_ENUMERATED: u8 = 0x0a;
pub(crate) const TAG_SEQUENCE: u8 = 0x30;
pub(crate) const TAG_SET: u8 = 0x31;
/// Element 0 of a SEQUENCE that says so: the version of a certificate.
pub(crate) const TAG_EXPLICIT_0: u8 = 0xa0;
/// The bits of a number; all of them: the number stands in the bytes that follow.
const TAG_NUMBER: u8 = 0x1f;
/// The content goes on until it says that it ends.
const LEN_INDEFINITE: u8 = 0x80;
const TAG_UTC_TIME: u8 = 0x17;
const TAG_GENERALIZED_TIME: u8 = 0x18;
/// From the 1st of March of year 0.
const DAYS_TO_1970: u64 = 719_468;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read() {
        let utc = |text: &str| seconds(TAG_UTC_TIME, text.as_bytes());
        assert_eq!(utc("700101000000Z"), Some(0));
        assert_eq!(utc("240229123456Z"), Some(1_709_210_096));
        assert_eq!(utc("491231235959Z"), Some(2_524_607_999));
        assert_eq!(utc("500101000000Z"), None, "1950 is before the epoch");
        let general = |text: &str| seconds(TAG_GENERALIZED_TIME, text.as_bytes());
        assert_eq!(general("20500101000000Z"), Some(2_524_608_000));
        assert_eq!(general("99991231235959Z"), Some(253_402_300_799));
        for wrong in
            ["20501301000000Z", "2050010100000Z", "20500101000000", "2050010100000xZ", "Z", ""]
        {
            assert_eq!(general(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_element_longer_than_what_is_there_is_none() {
        assert!(Der(&[0x30, 0x03, 1, 2]).next().is_none());
        assert!(Der(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]).next().is_none());
        assert!(Der(&[0x30, 0x85, 0, 0, 0, 0, 0]).next().is_none());
        assert!(Der(&[0x30]).next().is_none());
    }

    #[test]
    fn what_der_has_not_is_not_misread() {
        // SEQUENCE { NULL } of indefinite length, which is no empty element with three more behind it.
        assert!(Der(&[0x30, 0x80, 5, 0, 0, 0]).next().is_none());
        // [31], whose number is no length.
        for tag in [0x1f, 0x3f, 0x5f, 0x9f, 0xbf, 0xff] {
            assert!(Der(&[tag, 0x01, 0x01, 0xff]).next().is_none(), "{tag:#x}");
        }
        assert_eq!(Der(&[0x1e, 0x01, 0xff]).next(), Some((0x1e, &[0xff][..])));
    }

    proptest! {
        #[test]
        fn what_is_encoded_reads_back(
            tag in any::<u8>().prop_filter("a tag of one byte", |tag| tag & TAG_NUMBER != TAG_NUMBER),
            content in prop::collection::vec(any::<u8>(), 0..70_000),
        ) {
            let der = encode(tag, &[&content, &content]);
            let mut read = Der(&der);
            prop_assert_eq!(read.whole(), Some(&der[..]));
            prop_assert_eq!(Der(&der).next(), Some((tag, &[&content[..], &content].concat()[..])));
        }

        #[test]
        fn any_bytes_are_walked_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut der = Der(&bytes);
            let mut n = 0;
            while let Some((tag, content)) = der.next() {
                seconds(tag, content);
                n += 1;
            }
            prop_assert!(n <= bytes.len());
        }
    }
}
