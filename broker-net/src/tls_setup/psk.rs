//! From `psk_ciphers` to what openssl wants.

use openssl::error::ErrorStack;
use openssl::ssl::{
    SslContext, SslMethod, SslMode, SslOptions, SslRef, SslSessionCacheMode, SslVersion,
};
use ring::rand::{SecureRandom, SystemRandom};

use super::Fetched;
use crate::config::PskCipher;

/// TLS 1.2 and these cipher suites alone, with the keys that there are at the time of a handshake.
pub(crate) fn context(ciphers: &[PskCipher], fetched: &Fetched) -> Result<SslContext, ErrorStack> {
    let mut builder = SslContext::builder(SslMethod::tls_server())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_max_proto_version(Some(SslVersion::TLS1_2))?;
    let offered = ciphers.iter().filter(|cipher| cipher.is_offered()).map(|it| it.name());
    builder.set_cipher_list(&offered.collect::<Vec<_>>().join(":"))?;
    // A session is not taken up again past a key that is gone.
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_options(
        SslOptions::NO_TICKET | SslOptions::NO_RENEGOTIATION | SslOptions::CIPHER_SERVER_PREFERENCE,
    );
    builder.set_mode(SslMode::RELEASE_BUFFERS);
    let fetched = fetched.clone();
    builder.set_psk_server_callback(move |_: &mut SslRef, identity, out| {
        let secret = identity.and_then(|identity| fetched.psk(identity));
        Ok(put_secret(secret, out))
    });
    Ok(builder.build())
}

/// Who is not known fails as somebody with the wrong key does: which identities there are is for nobody to find out.
fn put_secret(secret: Option<Vec<u8>>, out: &mut [u8]) -> usize {
    if let Some(secret) = secret
        && let Some(place) = out.get_mut(..secret.len())
    {
        place.copy_from_slice(&secret);
        return secret.len();
    }
    let n = RANDOM_BYTES.min(out.len());
    // Without random numbers there is no key: the handshake ends.
    if SystemRandom::new().fill(&mut out[..n]).is_ok() { n } else { 0 }
}

const RANDOM_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_known_gets_a_key_that_nobody_has() {
        let mut out = [0; 64];
        assert_eq!(put_secret(Some(b"1234".to_vec()), &mut out), 4);
        assert_eq!(&out[..5], b"1234\0");
        let mut random = || {
            let n = put_secret(None, &mut out);
            out[..n].to_vec()
        };
        let (one, other) = (random(), random());
        assert!(one.len() == RANDOM_BYTES && one != other);
        assert_eq!(put_secret(Some(vec![1; 100]), &mut out), RANDOM_BYTES, "it has no room");
    }

    #[test]
    fn openssl_knows_all_that_is_offered() {
        for cipher in PskCipher::all().filter(|cipher| cipher.is_offered()) {
            assert!(context(&[cipher], &Fetched::default()).is_ok(), "{}", cipher.name());
        }
    }
}
