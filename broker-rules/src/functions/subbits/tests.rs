//! Corners of bits.

use crate::functions::tests::calls::run;

#[test]
fn bits_are_read_from_anywhere() {
    for (call, expected) in [
        ("subbits(hexstr2bin('F0'), 1, 4)", "15"),
        ("subbits(hexstr2bin('F0'), 5, 4)", "0"),
        ("subbits(hexstr2bin('0FF0'), 5, 8)", "255"),
        ("bin2hexstr(subbits(hexstr2bin('0ABC'), 5, 8, 'bits'))", "\"AB\""),
        ("subbits(hexstr2bin('F0'), 1, 4, 'integer', 'signed')", "-1"),
        ("subbits(hexstr2bin('FEFF'), 1, 16, 'integer', 'signed', 'little')", "-2"),
        // The last bits of a little-endian number are its highest.
        ("subbits(hexstr2bin('3412'), 1, 12, 'integer', 'unsigned', 'little')", "308"),
        ("subbits(hexstr2bin('3E00'), 1, 16, 'float')", "1.5"),
        ("subbits(hexstr2bin('000000000000F83F'), 1, 64, 'float', 'unsigned', 'little')", "1.5"),
        ("subbits('ab', 9, 100)", "98"),
        ("subbits('ab', 0)", "0"),
        ("subbits('', 8)", "undefined"),
        ("subbits(hexstr2bin('FFFFFFFFFFFFFFFF'), 1, 64, 'integer', 'signed')", "-1"),
    ] {
        assert_eq!(run(call), expected, "{call}");
    }
}

#[test]
fn what_is_no_number_is_an_error() {
    for (call, expected) in [
        ("subbits(hexstr2bin('FFFFFFFFFFFFFFFF'), 64)", "the result is not an integer of 64 bits"),
        ("subbits('123456789', 65)", "argument 2: expected at most 64 bits"),
        ("subbits('123456789', 1, 65)", "argument 3: expected at most 64 bits"),
        ("subbits('ab', 0, 8)", "argument 2: expected 1 or more"),
        ("subbits('ab', -1)", "argument 2: expected 0 or more"),
        ("subbits('ab', 1, 9, 'bits')", "bits that are not whole bytes are not a string"),
        ("subbits('ab', 1, 8, 'float')", "a float has 16, 32 or 64 bits"),
        ("subbits(hexstr2bin('7C00'), 1, 16, 'float')", "the bits are not a finite float"),
        ("subbits('ab', 1, 8, 'text')", "argument 4: expected one of integer, float, bits"),
    ] {
        assert_eq!(run(call), format!("error: subbits: {expected}"), "{call}");
    }
}

#[test]
fn shifts_keep_the_sign_and_lose_nothing() {
    for (call, expected) in [
        ("bitsl(-1, 63)", "-9223372036854775808"),
        ("bitsl(0, 9223372036854775807)", "0"),
        ("bitsl(1, 64)", "error: bitsl: the result is not an integer of 64 bits"),
        ("bitsl(3, 62)", "error: bitsl: the result is not an integer of 64 bits"),
        ("bitsr(1, -4)", "16"),
        ("bitsr(1, 64)", "0"),
        ("bitsl(-8, -9223372036854775808)", "-1"),
    ] {
        assert_eq!(run(call), expected, "{call}");
    }
}
