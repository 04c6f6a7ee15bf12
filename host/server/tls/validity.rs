//! From when and until when certificates are valid.

use std::time::{Duration, SystemTime};

use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_parser::parse_x509_certificate;
use x509_parser::time::ASN1Time;

/// Why a chain of certificates cannot be used now.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotValid {
    /// The number counts from 1.
    #[error("certificate {0} is not one of X.509")]
    Malformed(usize),
    #[error("certificate {number} has expired, on {at}: put a new one there")]
    Expired { number: usize, at: String },
    #[error(
        "certificate {number} is not valid before {at}: put one there that is, or set this machine's clock right"
    )]
    TooEarly { number: usize, at: String },
}

/// Checks that every certificate is valid at `now`. When the first of them expires.
pub(super) fn check(chain: &[CertificateDer<'_>], now: SystemTime) -> Result<SystemTime, NotValid> {
    let mut first = None;
    for (index, certificate) in chain.iter().enumerate() {
        let number = index + 1;
        let (_, parsed) = parse_x509_certificate(certificate).map_err(|_| NotValid::Malformed(number))?;
        let validity = parsed.validity();
        let (begins, ends) = (at(validity.not_before), at(validity.not_after));
        if now < begins {
            let at = shown(begins);
            return Err(NotValid::TooEarly { number, at });
        }
        if now > ends {
            return Err(NotValid::Expired {
                number,
                at: shown(ends),
            });
        }
        first = Some(first.map_or(ends, |first: SystemTime| first.min(ends)));
    }
    // A chain is never empty.
    Ok(first.unwrap_or(now))
}

/// A time before 1970 is as good as 1970.
fn at(time: ASN1Time) -> SystemTime {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

pub(super) fn shown(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
