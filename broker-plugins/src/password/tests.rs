//! Forms of passwords against what other programs have made of them.

use super::digest::{from_hex, to_hex};
use super::stored::{AccountHash, Stored};
use super::*;

#[track_caller]
fn check(form: &str, stored: &str, salt: Option<&str>) {
    let form: PasswordForm = form.parse().unwrap();
    let salt = salt.map(str::as_bytes);
    let fits = |password: &[u8]| form.check(password, stored.as_bytes(), salt);
    assert_eq!(fits(b"secret"), Ok(true), "{form:?}");
    for wrong in [&b"Secret"[..], b"secre", b"secrets", b""] {
        assert_eq!(fits(wrong), Ok(false), "{form:?}");
    }
    assert_eq!(form.wants_salt(), salt.is_some(), "{form:?}");
    if form.wants_salt() {
        assert_eq!(form.check(b"secret", stored.as_bytes(), None), Err(Unusable::NoSalt));
    }
}

/// Made with Python's hashlib.
#[test]
fn digests_with_and_without_salt() {
    for (form, stored, salt) in [
        ("plain", "secret", None),
        ("salt,plain", "saltsecret", Some("salt")),
        ("plain,salt", "secretsalt", Some("salt")),
        ("md5", "5ebe2294ecd0e0f08eab7690d2a6ee69", None),
        ("sha", "e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4", None),
        ("sha256", "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b", None),
        ("sha256", "2BB80D537B1DA3E38BD30361AA855686BDE0EACD7162FEF6A25FE97BF527A25B", None),
        (
            "sha512",
            "bd2b1aaf7ef4f09be9f52ce2d8d599674d81aa9d6a4421696dc4d93dd0619d682ce56b4d64a9ef097761ced9\
             9e0f67265b5f76085e5b0ee7ca4696b2ad6fe2b2",
            None,
        ),
        (
            "salt,sha256",
            "bede90386d450cea8b77b822f8887065e4e5abf132c2f9dccfcc7fbd4cba5e35",
            Some("salt"),
        ),
        (
            "sha256,salt",
            "f84fa2149dbb62ed4e0cf1f550d2949b33a6513d3a7707e08502511c79ccb0ee",
            Some("salt"),
        ),
        ("salt,md5", "d42a0f742ffc1be4e1cc0845c2429c97", Some("salt")),
        ("md5, salt", "99cd2e5a95d555ee7be3b038a4a84625", Some("salt")),
        ("salt,sha", "da00ec2e6ff9ed4d342b24a16e262c82f3c8b10b", Some("salt")),
    ] {
        check(form, stored, salt);
    }
}

/// Made with Python's hashlib and openssl.
#[test]
fn pbkdf2_with_every_mac() {
    for (mac, stored) in [
        ("md4", "79c641fd868fc8427ccd299b4a30198170695a54"),
        ("md5", "234854d5323d19ce9767694cfba85ca48079abb4"),
        ("ripemd160", "d20c29182821a23425487c6b6aaf3b8bd3aec798"),
        ("sha", "fa7bab9eff3a06a5271ccfb9b6d8728d0c7a334d"),
        ("sha224", "0f697a862d2b819abee0b7e91d239dc096e45d9e"),
        ("sha256", "a8df899f3c4f204d967e0ad63c092987c10055eb"),
        ("sha384", "c6e17f0cc36969c0935de75e73fb668be5d5dfba"),
        ("sha512", "f76f72381b75f0deb1c339334a8c8974366cadbc"),
    ] {
        check(&format!("pbkdf2,{mac},1000,20"), stored, Some("salt"));
    }
}

/// Made with crypt(3).
#[test]
fn bcrypt_with_the_salt_inside_and_beside() {
    let stored = "$2a$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";
    check("bcrypt", stored, None);
    check("bcrypt", &stored.replace("$2a$", "$2b$"), None);
    check("bcrypt", &stored.replace("$2a$", "$2y$"), None);
    check("salt,bcrypt", stored, Some(&stored[..29]));
    check("bcrypt,salt", stored, Some(stored));
    let form: PasswordForm = "bcrypt".parse().unwrap();
    for malformed in [
        "",
        "secret",
        &stored[..59],
        &stored.replace("$2a$", "$2x$"),
        &stored.replace("$05$", "$31$"),
        &stored.replace("$05$", "$xx$"),
        &format!("{stored}a"),
        &stored.replace('Q', "ü"),
    ] {
        assert_eq!(
            form.check(b"secret", malformed.as_bytes(), None),
            Err(Unusable::Malformed),
            "{malformed}"
        );
    }
}

#[test]
fn what_is_no_hash_is_not_compared_with() {
    for (form, stored) in [("sha256", "xyz"), ("md5", "5eb"), ("pbkdf2,sha,1,1", "€")] {
        let form: PasswordForm = form.parse().unwrap();
        assert_eq!(form.check(b"", stored.as_bytes(), Some(b"s")), Err(Unusable::Malformed));
    }
}

#[test]
fn what_is_no_form_is_named() {
    for (text, problem) in [
        ("", " is no hash function"),
        ("sha3", "sha3 is no hash function"),
        ("salt,sha256,salt", "salt,sha256,salt is no form of a stored password"),
        ("pbkdf2,sha3,1,1", "sha3 is no MAC for pbkdf2"),
        ("pbkdf2,sha,0,1", "0 is no number from 1 to 10000000"),
        ("pbkdf2,sha,1,9999", "9999 is no number from 1 to 1024"),
        ("pbkdf2,sha,-1,1", "-1 is no number from 1 to 10000000"),
    ] {
        assert_eq!(text.parse::<PasswordForm>(), Err(problem.to_owned()));
    }
    let slow = |text: &str| text.parse::<PasswordForm>().unwrap().is_slow();
    assert!(slow("bcrypt") && slow("pbkdf2,sha,1,1") && !slow("salt,sha512") && !slow("plain"));
}

#[test]
fn hexadecimal_goes_both_ways() {
    assert_eq!(to_hex(&[0, 0x9a, 0xff]), "009aff");
    assert_eq!(from_hex(b"009AfF"), Some(vec![0, 0x9a, 0xff]));
    for wrong in ["0", "0g", "+1", " 1", "é"] {
        assert_eq!(from_hex(wrong.as_bytes()), None, "{wrong}");
    }
}

#[test]
fn each_way_to_keep_a_password_fits_it_and_no_other() {
    for word in AccountHash::WORDS {
        let hash = AccountHash::from_word(word).unwrap();
        assert_eq!(hash.word(), word);
        let stored = Stored::make(hash, b"secret").unwrap();
        let read = Stored::from_bytes(stored.as_bytes()).unwrap();
        assert!(read.fits(b"secret"), "{word}");
        assert!(!read.fits(b"Secret") && !read.fits(b""), "{word}");
        assert_eq!(read.is_slow(), ["argon2id", "bcrypt", "pbkdf2"].contains(&word), "{word}");
        let again = Stored::make(hash, b"secret").unwrap();
        assert_eq!(again == stored, word == "plain", "each has a salt of its own: {word}");
        assert_eq!(format!("{stored:?}"), "***");
        let text = String::from_utf8(stored.as_bytes().to_vec()).unwrap();
        assert!(!text.contains("secret"));
    }
    assert_eq!(AccountHash::from_word("md4"), None);
}

/// What EMQ X keeps: salt and lower-case hash; and what other programs make.
#[test]
fn what_others_have_made_is_read() {
    for stored in [
        "$sha256$73616c74$bede90386d450cea8b77b822f8887065e4e5abf132c2f9dccfcc7fbd4cba5e35",
        "$md5$73616c74$d42a0f742ffc1be4e1cc0845c2429c97",
        "$sha$73616c74$da00ec2e6ff9ed4d342b24a16e262c82f3c8b10b",
        "$sha$$e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4",
        "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
    ] {
        assert!(Stored::from_bytes(stored.as_bytes()).unwrap().fits(b"secret"), "{stored}");
    }
    for broken in [
        "",
        "secret",
        "$",
        "$sha256$73616c74",
        "$sha256$73616c74$00$00",
        "$sha3$00$00",
        "$2y$05$",
        "$plain$?",
        "$argon2id$v=19$",
        "$pbkdf2-sha256$i=1$AAAA",
        "$pbkdf2-sha256$i=99999999$AAAA$AAAA",
    ] {
        assert!(Stored::from_bytes(broken.as_bytes()).is_none(), "{broken}");
    }
}

#[test]
fn bcrypt_does_not_pretend_to_look_at_more_than_it_does() {
    assert!(Stored::make(AccountHash::Bcrypt, &[b'x'; 72]).is_ok());
    assert!(Stored::make(AccountHash::Bcrypt, &[b'x'; 73]).is_err());
    assert!(Stored::make(AccountHash::Argon2id, &[b'x'; 10_000]).is_ok());
}
