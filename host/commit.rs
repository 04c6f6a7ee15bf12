//! The one commit point.
//!
//! The store's committer runs on a thread of its own. Dropping a submission, because the deadline passed or
//! the caller went away, withdraws it if the committer has not accepted it yet, and changes nothing if it
//! has: then the effects stand although the client does not hear of them.

use crate::capability::store::{CommitError, Rewritten, Store, Transaction};
use crate::deadline::Deadline;
use crate::status::Failure;

/// How a commit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotCommitted {
    /// Something the handler read has changed: it may run again. Named if the handler also writes it.
    Conflict(Option<Rewritten>),
    /// The call fails.
    Failed(Failure),
}

/// Makes what an attempt staged durable. Costs nothing if it staged nothing.
pub async fn commit(
    store: &Store,
    transaction: Transaction,
    deadline: &Deadline,
) -> Result<(), NotCommitted> {
    if transaction.is_empty() {
        return Ok(());
    }
    // An answer made too late is no answer: nothing may be committed for it.
    if deadline.expired() {
        return Err(NotCommitted::Failed(Failure::DeadlineExceeded));
    }
    let outcome = deadline
        .bound(store.commit(transaction))
        .await
        .map_err(|expired| NotCommitted::Failed(expired.into()))?;
    outcome.map(drop).map_err(|error| match error {
        CommitError::Conflict(over) => NotCommitted::Conflict(over),
        CommitError::Unavailable(_) => NotCommitted::Failed(Failure::StoreUnavailable {
            cause: error.to_string(),
        }),
        CommitError::Unknown => NotCommitted::Failed(Failure::CommitUnknown {
            cause: error.to_string(),
        }),
    })
}
