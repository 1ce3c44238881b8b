//! The subject of a client certificate, read from its DER.
//!
//! Only certificates that rustls has verified come here. The few fields walked over do not warrant
//! a parser crate; what does not decode is absent, never an error.

use std::fmt::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::config::PeerCertField;
use crate::der::{Der, TAG_EXPLICIT_0, TAG_OID, TAG_SEQUENCE, TAG_SET};

/// What a certificate says about its owner.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Subject {
    /// The first common name; `None` also when it is not text, or holds U+0000.
    pub(crate) common_name: Option<String>,
    /// The distinguished name as RFC 4514 writes it, most specific part first.
    pub(crate) distinguished_name: Option<String>,
}

impl Subject {
    pub(crate) fn of(certificate: &[u8]) -> Self {
        match attributes(certificate) {
            Some(attributes) => Self {
                common_name: attributes.iter().find(|a| a.oid == OID_CN).and_then(|a| a.text()),
                distinguished_name: Some(distinguished_name(&attributes)),
            },
            None => Self::default(),
        }
    }

    /// What `peer_cert_as_username` makes of it; `None` also where that is empty.
    pub(crate) fn username(&self, field: PeerCertField, certificate: &[u8]) -> Option<String> {
        let username = match field {
            PeerCertField::Cn => self.common_name.clone(),
            PeerCertField::Dn => self.distinguished_name.clone(),
            PeerCertField::Crt => Some(BASE64_STANDARD.encode(certificate)),
        };
        username.filter(|name| !name.is_empty())
    }
}

/// One `type = value` of a name, and whether it continues the multi-valued part before it.
struct Attribute<'a> {
    oid: &'a [u8],
    tag: u8,
    value: &'a [u8],
    /// Tag and length included.
    der: &'a [u8],
    continues: bool,
}

impl Attribute<'_> {
    fn text(&self) -> Option<String> {
        let text = match self.tag {
            TAG_UTF8 | TAG_NUMERIC | TAG_PRINTABLE | TAG_IA5 => {
                str::from_utf8(self.value).ok()?.to_owned()
            }
            TAG_TELETEX => self.value.iter().map(|&byte| char::from(byte)).collect(),
            TAG_BMP => {
                let (units, []) = self.value.as_chunks::<2>() else { return None };
                let units = units.iter().map(|unit| u16::from_be_bytes(*unit));
                char::decode_utf16(units).collect::<Result<_, _>>().ok()?
            }
            TAG_UNIVERSAL => {
                let (units, []) = self.value.as_chunks::<4>() else { return None };
                units
                    .iter()
                    .map(|u| char::from_u32(u32::from_be_bytes(*u)))
                    .collect::<Option<_>>()?
            }
            _ => return None,
        };
        // "admin\0.example" must not pass for "admin" anywhere [MQTT-1.5.4-2].
        (!text.contains('\0')).then_some(text)
    }
}

fn attributes(certificate: &[u8]) -> Option<Vec<Attribute<'_>>> {
    let mut certificate = Der(certificate).expect(TAG_SEQUENCE)?;
    let mut tbs = certificate.expect(TAG_SEQUENCE)?;
    if tbs.0.first() == Some(&TAG_EXPLICIT_0) {
        tbs.next()?;
    }
    // Serial number, signature algorithm, issuer, validity.
    for _ in 0..4 {
        tbs.next()?;
    }
    let mut subject = tbs.expect(TAG_SEQUENCE)?;
    let mut attributes = Vec::new();
    while !subject.0.is_empty() {
        let mut part = subject.expect(TAG_SET)?;
        let mut continues = false;
        while !part.0.is_empty() {
            let mut pair = part.expect(TAG_SEQUENCE)?;
            let oid = pair.expect(TAG_OID)?.0;
            let rest = pair.0;
            let (tag, value) = pair.next()?;
            let der = &rest[..rest.len() - pair.0.len()];
            attributes.push(Attribute { oid, tag, value, der, continues });
            continues = true;
        }
    }
    Some(attributes)
}

/// RFC 4514: parts in reverse, parts of several values joined by a plus sign.
fn distinguished_name(attributes: &[Attribute<'_>]) -> String {
    let mut out = String::new();
    let mut end = attributes.len();
    while end > 0 {
        let start = attributes[..end].iter().rposition(|a| !a.continues).unwrap_or(0);
        for (i, attribute) in attributes[start..end].iter().enumerate() {
            if i > 0 {
                out.push('+');
            } else if !out.is_empty() {
                out.push(',');
            }
            write_attribute(attribute, &mut out);
        }
        end = start;
    }
    out
}

fn write_attribute(attribute: &Attribute<'_>, out: &mut String) {
    let name = NAMES.iter().find(|(oid, _)| *oid == attribute.oid).map(|(_, name)| *name);
    match name {
        Some(name) => out.push_str(name),
        None => write_oid(attribute.oid, out),
    }
    out.push('=');
    match (name, attribute.text()) {
        (Some(_), Some(text)) => write_escaped(&text, out),
        _ => {
            out.push('#');
            for byte in attribute.der {
                let _ = write!(out, "{byte:02x}");
            }
        }
    }
}

fn write_oid(oid: &[u8], out: &mut String) {
    let mut arc: u64 = 0;
    let mut first = true;
    for &byte in oid {
        arc = arc.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        let _ = if first {
            let root = (arc / 40).min(2);
            write!(out, "{root}.{}", arc - root * 40)
        } else {
            write!(out, ".{arc}")
        };
        (arc, first) = (0, false);
    }
}

fn write_escaped(text: &str, out: &mut String) {
    let last = text.chars().count().saturating_sub(1);
    for (i, c) in text.chars().enumerate() {
        let special = matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '\\')
            || (c == ' ' && (i == 0 || i == last))
            || (c == '#' && i == 0);
        if special {
            out.push('\\');
        }
        out.push(c);
    }
}

const TAG_UTF8: u8 = 0x0c;
const TAG_NUMERIC: u8 = 0x12;
const TAG_PRINTABLE: u8 = 0x13;
const TAG_TELETEX: u8 = 0x14;
const TAG_IA5: u8 = 0x16;
const TAG_UNIVERSAL: u8 = 0x1c;
const TAG_BMP: u8 = 0x1e;

const OID_CN: &[u8] = &[0x55, 4, 3];
const NAMES: [(&[u8], &str); 14] = [
    (OID_CN, "CN"),
    (&[0x55, 4, 4], "SN"),
    (&[0x55, 4, 5], "SERIALNUMBER"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "STREET"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 12], "title"),
    (&[0x55, 4, 42], "GN"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "emailAddress"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};

    use super::*;

    fn certificate(name: DistinguishedName) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn named(values: &[(DnType, &str)]) -> Vec<u8> {
        let mut name = DistinguishedName::new();
        for (kind, value) in values {
            name.push(kind.clone(), *value);
        }
        certificate(name)
    }

    #[test]
    fn names_are_read() {
        let der = named(&[
            (DnType::CountryName, "DE"),
            (DnType::OrganizationName, "Sensors, Inc."),
            (DnType::CommonName, "gerät #7"),
            (DnType::CustomDnType(vec![2, 999, 300]), "x"),
        ]);
        let subject = Subject::of(&der);
        assert_eq!(subject.common_name.as_deref(), Some("gerät #7"));
        let dn = "2.999.300=#0c0178,CN=gerät #7,O=Sensors\\, Inc.,C=DE";
        assert_eq!(subject.distinguished_name.as_deref(), Some(dn));
        assert_eq!(subject.username(PeerCertField::Cn, &der).as_deref(), Some("gerät #7"));
        let crt = subject.username(PeerCertField::Crt, &der).unwrap();
        assert_eq!(BASE64_STANDARD.decode(crt).unwrap(), der);
    }

    #[test]
    fn a_wide_string_is_decoded() {
        let mut name = DistinguishedName::new();
        let value = rcgen::string::BmpString::try_from("Grüße").unwrap();
        name.push(DnType::CommonName, DnValue::BmpString(value));
        assert_eq!(Subject::of(&certificate(name)).common_name.as_deref(), Some("Grüße"));
    }

    #[test]
    fn a_common_name_that_is_no_text_is_absent() {
        let mut der = named(&[(DnType::CommonName, "bystander")]);
        while let Some(at) = der.windows(9).position(|bytes| bytes == b"bystander") {
            der[at] = 0xff;
        }
        let subject = Subject::of(&der);
        assert_eq!(subject.common_name, None);
        assert_eq!(subject.distinguished_name.as_deref(), Some("CN=#0c09ff797374616e646572"));
        assert_eq!(subject.username(PeerCertField::Cn, &der), None);
    }

    #[test]
    fn a_common_name_with_a_null_is_absent() {
        assert_eq!(Subject::of(&named(&[(DnType::CommonName, "admin\0x")])).common_name, None);
    }

    #[test]
    fn an_empty_name_is_none() {
        for der in [named(&[]), named(&[(DnType::CommonName, "")])] {
            assert_eq!(Subject::of(&der).username(PeerCertField::Cn, &der), None);
        }
        let der = named(&[]);
        assert_eq!(Subject::of(&der).username(PeerCertField::Dn, &der), None);
    }

    proptest! {
        #[test]
        fn damaged_certificates_do_not_panic(
            flips in prop::collection::vec((0..200usize, any::<u8>()), 1..20),
            len in 0..400usize,
        ) {
            static DER: std::sync::LazyLock<Vec<u8>> =
                std::sync::LazyLock::new(|| named(&[(DnType::CommonName, "a"), (DnType::CountryName, "b")]));
            let mut der = DER.clone();
            for (at, byte) in flips {
                der[at] = byte;
            }
            der.truncate(len);
            Subject::of(&der);
        }
    }
}
