//! What the upstream calls of a call came to, so that a later attempt does not make them again.

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::{Failed, Refusal, Reply, Request};

/// The outcomes of one call, by the number of the upstream call in its attempt, from 0. Bounded by the
/// plugin's `max_upstream_calls` and `max_upstream_bytes`.
#[derive(Debug, Default)]
pub struct Journal {
    entries: Mutex<Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    request: Fingerprint,
    outcome: Result<Reply, Failed>,
}

type Fingerprint = [u8; 32];

impl Journal {
    /// The outcome of an earlier attempt's call `number`, if there was one.
    pub(super) fn replay(
        &self,
        number: u32,
        request: &Request,
    ) -> Option<Result<Result<Reply, Failed>, Refusal>> {
        let entries = self.entries.lock();
        let entry = entries.get(number as usize)?;
        Some(if entry.request == fingerprint(request) {
            Ok(entry.outcome.clone())
        } else {
            Err(Refusal::Diverged)
        })
    }

    /// Keeps the outcome of the call that was just made, which is the first of its number.
    pub(super) fn record(&self, number: u32, request: &Request, outcome: &Result<Reply, Failed>) {
        let mut entries = self.entries.lock();
        debug_assert_eq!(entries.len(), number as usize);
        entries.push(Entry {
            request: fingerprint(request),
            outcome: outcome.clone(),
        });
    }
}

/// Of target, method and message. Metadata does not count: a plugin may well put the time there.
fn fingerprint(request: &Request) -> Fingerprint {
    let mut hash = Sha256::new();
    for part in [
        request.target.as_bytes(),
        request.method.as_bytes(),
        &request.message,
    ] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn request(target: &str, method: &str, message: &'static str) -> Request {
        Request {
            target: target.into(),
            method: method.into(),
            message: message.into(),
            metadata: Vec::new(),
            timeout: None,
        }
    }

    fn reply(message: &'static str) -> Result<Reply, Failed> {
        Ok(Reply {
            message: Bytes::from_static(message.as_bytes()),
            initial: Vec::new(),
            trailing: Vec::new(),
        })
    }

    #[test]
    fn outcomes_are_kept_in_order_failures_too() {
        let journal = Journal::default();
        let failed = Err(Refusal::not_granted("b").into());
        assert!(journal.replay(0, &request("a", "/m", "1")).is_none());
        journal.record(0, &request("a", "/m", "1"), &reply("one"));
        journal.record(1, &request("b", "/m", "2"), &failed);
        assert_eq!(
            journal.replay(0, &request("a", "/m", "1")),
            Some(Ok(reply("one")))
        );
        assert_eq!(journal.replay(1, &request("b", "/m", "2")), Some(Ok(failed)));
        assert!(journal.replay(2, &request("a", "/m", "1")).is_none());
    }

    #[test]
    fn another_request_in_the_same_place_diverges() {
        let journal = Journal::default();
        journal.record(0, &request("ab", "c", "d"), &reply("one"));
        for other in [
            request("a", "bc", "d"),
            request("ab", "c", "e"),
            request("ab", "cd", ""),
        ] {
            assert_eq!(
                journal.replay(0, &other),
                Some(Err(Refusal::Diverged)),
                "{other:?}"
            );
        }
        let mut later = request("ab", "c", "d");
        later.metadata.push(("when".into(), b"now".to_vec()));
        assert_eq!(journal.replay(0, &later), Some(Ok(reply("one"))));
    }
}
