//! Keys that tokens are verified with: public keys in PEM or as a JSON Web Key Set, and shared secrets.
//!
//! A key belongs to one algorithm, which the file says or which follows from the kind of the key, and never to what
//! a token asks for: no token can turn a public key into a secret (RFC 8725, sections 2.1 and 3.1).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use jsonwebtoken::{Algorithm, DecodingKey};
use sha2::{Digest as _, Sha256};

use super::IssuerError;
use super::token::Verifier;
use crate::config::{Issuer, PluginName};

mod jwk;
mod pem;

/// A larger file holds no keys.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The most keys of one issuer, since a token that does not name its key is tried with each that fits.
const MAX_KEYS: usize = 32;

/// RFC 7518, section 3.2: at least as long as the hash.
const MIN_SECRET_BYTES: usize = 32;

/// RSA keys within these bits can be used (NIST SP 800-131A asks for 2048 or more).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A key and what it is for.
pub(super) struct Key {
    /// `kid`, by which tokens name it. A key in PEM has none.
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// Which setting of an issuer's names the file that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFile {
    /// `keys`
    Public,
    /// `secret_file`
    Secret,
}

/// Why a file of keys cannot be used. Never shows any of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct KeyError {
    /// The setting to look at.
    pub file: KeyFile,
    /// The file.
    pub path: PathBuf,
    /// What is wrong in it, and where.
    pub problem: String,
}

/// Where the keys of all issuers are.
pub(super) struct KeyFiles {
    issuers: BTreeMap<PluginName, Issuer>,
    max_cached_tokens: usize,
}

/// The content of all files, to tell whether one has changed.
pub(super) type Fingerprint = [u8; 32];

impl KeyFiles {
    pub(super) fn new(issuers: BTreeMap<PluginName, Issuer>, max_cached_tokens: usize) -> Self {
        Self {
            issuers,
            max_cached_tokens,
        }
    }

    /// Every file there is to watch.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.issuers.values().flat_map(files).map(|(_, path)| path)
    }

    /// What is in the files now. One that cannot be read counts as empty.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        for path in self.paths() {
            let content = read(path).unwrap_or_default();
            hash.update((content.len() as u64).to_be_bytes());
            hash.update(&content);
        }
        hash.finalize().into()
    }

    /// Reads all of them.
    pub(super) fn load(&self) -> Result<Verifier, Vec<IssuerError>> {
        let mut issuers = Vec::new();
        let mut errors = Vec::new();
        for (name, issuer) in &self.issuers {
            match keys_of(issuer) {
                Ok(keys) => issuers.push((name.clone(), issuer.clone(), keys)),
                Err(error) => errors.push(IssuerError {
                    issuer: name.clone(),
                    error,
                }),
            }
        }
        if errors.is_empty() {
            Ok(Verifier::new(issuers, self.max_cached_tokens))
        } else {
            Err(errors)
        }
    }
}

fn files(issuer: &Issuer) -> impl Iterator<Item = (KeyFile, &Path)> {
    let public = issuer.keys.iter().map(|path| (KeyFile::Public, path.as_path()));
    let secret = issuer.secret_file.iter();
    public.chain(secret.map(|path| (KeyFile::Secret, path.as_path())))
}

/// The keys of one issuer, at least one.
fn keys_of(issuer: &Issuer) -> Result<Vec<Key>, KeyError> {
    let mut keys = Vec::new();
    for (file, path) in files(issuer) {
        let content = read(path).map_err(|error| format!("cannot read it: {error}"));
        let parsed = content.and_then(|content| match file {
            _ if content.len() as u64 > MAX_FILE_BYTES => Err("it is larger than 1 MiB".to_owned()),
            KeyFile::Public => public(&content),
            KeyFile::Secret => secret(&content).map(|key| vec![key]),
        });
        let refuse = |problem| KeyError {
            file,
            path: path.to_owned(),
            problem,
        };
        keys.extend(parsed.map_err(refuse)?);
        if keys.len() > MAX_KEYS {
            return Err(refuse(format!(
                "with it the issuer has more than {MAX_KEYS} keys"
            )));
        }
    }
    Ok(keys)
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut content)?;
    Ok(content)
}

fn public(content: &[u8]) -> Result<Vec<Key>, String> {
    if content.trim_ascii_start().starts_with(b"{") {
        return jwk::keys(content);
    }
    pem::keys(content)
}

/// The bytes as they are, less the line feed that editors and `echo` put at the end.
fn secret(content: &[u8]) -> Result<Key, String> {
    let secret = content.strip_suffix(b"\n").unwrap_or(content);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    if secret.starts_with(b"-----BEGIN") || secret.starts_with(b"{") {
        return Err("this is a file for `keys`: a shared secret for HS256 is plain bytes".into());
    }
    let significant = without_trailing_zeros(secret).len();
    if significant < MIN_SECRET_BYTES {
        return Err(format!(
            "a secret for HS256 has {MIN_SECRET_BYTES} bytes or more before any zeros at its end, and this one has \
             {significant}"
        ));
    }
    Ok(Key {
        id: None,
        algorithm: Algorithm::HS256,
        key: DecodingKey::from_secret(secret),
    })
}

/// HMAC fills a key up with zeros (RFC 2104, section 2), so one that ends in them is no stronger than without.
fn without_trailing_zeros(secret: &[u8]) -> &[u8] {
    let end = secret.iter().rposition(|byte| *byte != 0);
    &secret[..end.map_or(0, |last| last + 1)]
}

/// An RSA key by its modulus and exponent, both big-endian.
fn rsa(n: &[u8], e: &[u8]) -> Result<DecodingKey, String> {
    let n = without_leading_zeros(n);
    let e = without_leading_zeros(e);
    let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) {
        return Err(format!(
            "an RSA key has {} to {} bits, and this one has {bits}",
            RSA_BITS.start(),
            RSA_BITS.end()
        ));
    }
    let odd = e.last().is_some_and(|last| last % 2 == 1);
    if !odd || e == [1] || e.len() > 4 {
        return Err("the exponent of this RSA key is none".into());
    }
    Ok(DecodingKey::from_rsa_raw_components(n, e))
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// The length of a coordinate on the curve that `algorithm` signs on.
fn coordinate_bytes(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::ES384 => 48,
        _ => 32,
    }
}
