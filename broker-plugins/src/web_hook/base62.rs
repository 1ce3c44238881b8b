//! Base62 as the original writes it: base64's groups of six bits, of which the last three take two characters.

/// All bytes, without padding: what is left at the end is a number of its two or four bits.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 4 / 3 + 4);
    let (groups, rest) = bytes.as_chunks::<3>();
    for [a, b, c] in groups {
        push(&mut text, a >> 2);
        push(&mut text, (a & 0b11) << 4 | b >> 4);
        push(&mut text, (b & 0b1111) << 2 | c >> 6);
        push(&mut text, c & 0b11_1111);
    }
    match rest {
        [a, b] => {
            push(&mut text, a >> 2);
            push(&mut text, (a & 0b11) << 4 | b >> 4);
            push(&mut text, b & 0b1111);
        }
        [a] => {
            push(&mut text, a >> 2);
            push(&mut text, a & 0b11);
        }
        _ => {}
    }
    text
}

/// One number below 64.
fn push(text: &mut String, six_bits: u8) {
    let first = match six_bits {
        0..26 => b'A' + six_bits,
        26..52 => b'a' + six_bits - 26,
        52..61 => b'0' + six_bits - 52,
        _ => b'9',
    };
    text.push(char::from(first));
    if six_bits >= 61 {
        text.push(char::from(b'A' + six_bits - 61));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Six bits of each character, or pair of them; the last ones fill what is left of a byte.
    fn decode(text: &str) -> Vec<u8> {
        let mut numbers = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            numbers.push(match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'9' => rest.next().unwrap() - b'A' + 61,
                _ => byte - b'0' + 52,
            });
        }
        let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0_u32);
        let last = numbers.len().wrapping_sub(1);
        for (at, number) in numbers.into_iter().enumerate() {
            let width = if at == last && held > 0 { 8 - held } else { 6 };
            bits = bits << width | u32::from(number);
            held += width;
            if held >= 8 {
                held -= 8;
                bytes.push((bits >> held) as u8);
                bits &= (1 << held) - 1;
            }
        }
        bytes
    }

    #[test]
    fn it_is_that_of_the_original() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"M", "TB"),
            (b"Ma", "TWB"),
            (b"Man", "TWFu"),
            (b"{\"x\":1}", "eyJ4IjoxfB"),
            (&[0xff, 0xff, 0xff], "9C9C9C9C"),
            (&[0xf4, 0x00, 0x00], "9AAAA"),
            (&[0xff], "9CD"),
        ] {
            assert_eq!(encode(bytes), text, "{bytes:?}");
            assert_eq!(decode(text), bytes, "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_says_all_and_is_letters_and_digits(bytes: Vec<u8>) {
            let text = encode(&bytes);
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric()));
            prop_assert_eq!(decode(&text), bytes);
        }
    }
}
