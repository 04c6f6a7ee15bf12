//! Verifies signatures of tokens with ring, the cryptography that TLS uses as well.
//!
//! The `jsonwebtoken` crate takes its cryptography from outside. Of those it offers, one would be a second copy of
//! what is here already and the other has an open advisory on RSA.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind, new_error};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, signature};
use ring::{hmac, signature as ring_signature};

/// For this process. The host signs nothing, and makes no JSON Web Keys.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(unsupported()),
    verifier_factory: |algorithm, key| {
        if key.family() != algorithm.family() {
            return Err(new_error(ErrorKind::InvalidAlgorithm));
        }
        Ok(Box::new(Ring {
            algorithm: *algorithm,
            check: check(*algorithm).ok_or_else(unsupported)?,
            key: key.clone(),
        }))
    },
    key_utils: KeyUtils::new_unimplemented(),
};

/// Must come before the first token is verified.
pub(super) fn install() {
    // Only this can have been installed earlier.
    let _ = PROVIDER.install_default();
}

/// Whether tokens may be signed with `algorithm`.
pub(super) fn supports(algorithm: Algorithm) -> bool {
    check(algorithm).is_some()
}

/// One algorithm with one key.
struct Ring {
    algorithm: Algorithm,
    check: Check,
    key: DecodingKey,
}

enum Check {
    Hmac(hmac::Algorithm),
    Rsa(&'static ring_signature::RsaParameters),
    Curve(&'static dyn ring_signature::VerificationAlgorithm),
}

fn check(algorithm: Algorithm) -> Option<Check> {
    Some(match algorithm {
        Algorithm::HS256 => Check::Hmac(hmac::HMAC_SHA256),
        Algorithm::RS256 => Check::Rsa(&ring_signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Check::Rsa(&ring_signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Check::Rsa(&ring_signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Check::Rsa(&ring_signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Check::Rsa(&ring_signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Check::Rsa(&ring_signature::RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 => Check::Curve(&ring_signature::ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Check::Curve(&ring_signature::ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Check::Curve(&ring_signature::ED25519),
        _ => return None,
    })
}

impl signature::Verifier<Vec<u8>> for Ring {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let verified = match (&self.check, self.key.kind()) {
            (Check::Hmac(algorithm), DecodingKeyKind::SecretOrDer(secret)) => {
                hmac::verify(&hmac::Key::new(*algorithm, secret), message, signature)
            }
            (Check::Rsa(parameters), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                ring_signature::RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
            }
            (Check::Curve(algorithm), DecodingKeyKind::SecretOrDer(point)) => {
                ring_signature::UnparsedPublicKey::new(*algorithm, point).verify(message, signature)
            }
            _ => Err(ring::error::Unspecified),
        };
        verified.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Ring {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn unsupported() -> Error {
    new_error(ErrorKind::UnsupportedAlgorithm)
}
