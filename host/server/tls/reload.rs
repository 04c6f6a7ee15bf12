//! Certificates and keys that are replaced while the host serves.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Tls;
use super::validity::shown;
use crate::generations::watch::FolderWatch;

/// How often the files are read without a sign that they changed: a link further up in their paths may point
/// elsewhere, some file systems tell of no change, and a certificate may become valid.
const LOOK_ANYWAY: Duration = Duration::from_secs(30);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// From how many days before its end on the log tells of it, once a day.
const WARNED_DAYS: u64 = 7;

pub(super) fn reload_on_change(tls: Tls) -> notify::Result<impl Future<Output = ()>> {
    let watch = FolderWatch::of_files(tls.shared.files.paths())?;
    Ok(async move {
        let mut refused = None;
        let mut told = None;
        loop {
            refused = reload(&tls, refused);
            told = tell_of_expiry(&tls, told);
            // Either is a reason to look.
            let _ = tokio::time::timeout(LOOK_ANYWAY, watch.settled()).await;
        }
    })
}

/// Reads the files, and serves what is new in them. Why it cannot be used, if so; `refused` was told already.
fn reload(tls: &Tls, refused: Option<String>) -> Option<String> {
    // A few small files, from time to time.
    match tls.shared.files.load() {
        Ok(loaded) => {
            if loaded.digest != tls.shared.serving.load().digest {
                tracing::info!(
                    valid_until = shown(loaded.expires),
                    "certificate and key read again"
                );
                tls.shared.serving.store(Arc::new(loaded));
            }
            None
        }
        Err(error) => {
            let error = error.to_string();
            if refused.as_ref() != Some(&error) {
                tracing::error!("certificate and key not read again, the earlier ones stay: {error}");
            }
            Some(error)
        }
    }
}

/// Warns of a certificate that expires soon, once for each day that is left. That number, if it is small.
fn tell_of_expiry(tls: &Tls, told: Option<u64>) -> Option<u64> {
    let expires = tls.shared.serving.load().expires;
    let left = expires.duration_since(SystemTime::now()).unwrap_or_default();
    // Whole days, the one that has begun included; 0 is the end.
    let days = left.as_secs().div_ceil(DAY.as_secs());
    if days > WARNED_DAYS {
        return None;
    }
    if told != Some(days) {
        let expires = shown(expires);
        if days == 0 {
            tracing::error!(
                expires,
                "the certificate has expired: clients that verify it are lost"
            );
        } else {
            tracing::warn!(expires, "the certificate expires soon");
        }
    }
    Some(days)
}
