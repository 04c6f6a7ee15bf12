//! Public keys in PEM: SubjectPublicKeyInfo, as `openssl pkey -pubout` writes it.

use jsonwebtoken::{Algorithm, DecodingKey};
use tokio_rustls::rustls::pki_types::SubjectPublicKeyInfoDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::{Key, coordinate_bytes, rsa};

/// Every key of a file.
pub(super) fn keys(content: &[u8]) -> Result<Vec<Key>, String> {
    let text = String::from_utf8_lossy(content);
    if text.contains("PRIVATE KEY-----") {
        return Err("it holds a private key: give the public one (openssl pkey -pubout)".into());
    }
    let mut keys = Vec::new();
    for (index, der) in SubjectPublicKeyInfoDer::pem_slice_iter(content).enumerate() {
        let key = der
            .map_err(|_| "it is not valid PEM".to_owned())
            .and_then(|der| key(&der));
        keys.push(key.map_err(|problem| format!("key {}: {problem}", index + 1))?);
    }
    if keys.is_empty() {
        return Err(
            "no key in it: expected public keys in PEM (BEGIN PUBLIC KEY) or a JSON Web Key Set".into(),
        );
    }
    Ok(keys)
}

fn key(der: &[u8]) -> Result<Key, String> {
    let broken = || "it is no public key".to_owned();
    let (rest, info) = SubjectPublicKeyInfo::from_der(der).map_err(|_| broken())?;
    if !rest.is_empty() {
        return Err(broken());
    }
    let bytes = info.subject_public_key.data.as_ref();
    let kind = &info.algorithm.algorithm;
    let (algorithm, key) = if *kind == OID_PKCS1_RSAENCRYPTION {
        let Ok(PublicKey::RSA(key)) = info.parsed() else {
            return Err(broken());
        };
        (Algorithm::RS256, rsa(key.modulus, key.exponent)?)
    } else if *kind == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = info
            .algorithm
            .parameters
            .as_ref()
            .and_then(|any| any.as_oid().ok());
        let algorithm = match curve {
            Some(curve) if curve == OID_EC_P256 => Algorithm::ES256,
            Some(curve) if curve == OID_NIST_EC_P384 => Algorithm::ES384,
            _ => return Err("its curve is neither P-256 nor P-384".into()),
        };
        if bytes.len() != 1 + 2 * coordinate_bytes(algorithm) || bytes[0] != 4 {
            return Err("its point is not written uncompressed".into());
        }
        (algorithm, DecodingKey::from_ec_der(bytes))
    } else if *kind == OID_SIG_ED25519 {
        if bytes.len() != coordinate_bytes(Algorithm::EdDSA) {
            return Err(broken());
        }
        (Algorithm::EdDSA, DecodingKey::from_ed_der(bytes))
    } else {
        return Err("it is of none of these kinds: RSA, EC, Ed25519".into());
    };
    Ok(Key {
        id: None,
        algorithm,
        key,
    })
}
