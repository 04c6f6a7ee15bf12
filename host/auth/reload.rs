//! Keys that are replaced while the host serves.

use std::sync::Arc;
use std::time::Duration;

use super::{Authenticator, IssuerError, Tokens};
use crate::generations::watch::FolderWatch;

/// How often the files are read without a sign that they changed: a link further up in their paths may point
/// elsewhere, and some file systems tell of no change.
const LOOK_ANYWAY: Duration = Duration::from_secs(30);

/// Reads the keys again whenever their files change, until dropped. Files that cannot be used are told once for each
/// state they are in, and the keys that were read before stay.
///
/// # Errors
/// If the folders cannot be watched.
pub fn reload_on_change(auth: Arc<Authenticator>) -> notify::Result<impl Future<Output = ()>> {
    let watch = match &auth.tokens {
        Some(tokens) => Some(FolderWatch::of_files(tokens.files.paths())?),
        None => None,
    };
    Ok(async move {
        let (Some(tokens), Some(watch)) = (&auth.tokens, watch) else {
            return;
        };
        loop {
            // Either is a reason to look.
            let _ = tokio::time::timeout(LOOK_ANYWAY, watch.settled()).await;
            tokens.reload();
        }
    })
}

impl Tokens {
    /// Reads the files if they are not as they were at the last look.
    pub(super) fn reload(&self) {
        // A few small files, from time to time.
        let fingerprint = self.files.fingerprint();
        if std::mem::replace(&mut *self.seen.lock(), fingerprint) == fingerprint {
            return;
        }
        match self.files.load() {
            Ok(verifier) => {
                tracing::info!(keys = verifier.keys(), "keys of the issuers read again");
                self.verifier.store(Arc::new(verifier));
            }
            Err(errors) => log_refused(&errors),
        }
    }
}

fn log_refused(errors: &[IssuerError]) {
    for error in errors {
        tracing::error!(issuer = %error.issuer, "keys not read again, the earlier ones stay: {error}");
    }
}
