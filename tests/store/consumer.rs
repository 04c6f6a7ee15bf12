//! A plugin as the host calls it: its handler is a function on a transaction.

use std::sync::Arc;

use mortise::capability::caller::{Caller, HostCall, Made, NotMade};
use mortise::capability::store::{Access, CommitError, Store, Transaction};

type Handler = dyn Fn(&HostCall, &mut Transaction) -> Result<(), NotMade> + Send + Sync;

/// Runs `handler` for each call, in a transaction that settles the errand, and again when it meets a
/// conflict.
pub(crate) struct Consumer {
    store: Store,
    handler: Box<Handler>,
}

impl Consumer {
    pub(crate) fn new(
        store: &Store,
        handler: impl Fn(&HostCall, &mut Transaction) -> Result<(), NotMade> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            store: store.clone(),
            handler: Box::new(handler),
        })
    }
}

impl Caller for Consumer {
    fn call(&self, call: HostCall) -> Made<'_> {
        Box::pin(async move {
            loop {
                let mut transaction = self.store.begin(&call.plugin, Access::ReadWrite);
                transaction.caused_by_hops(call.hops);
                if !transaction
                    .settle(&call.errand)
                    .map_err(|e| NotMade::NotNow(e.to_string()))?
                {
                    return Ok(());
                }
                (self.handler)(&call, &mut transaction)?;
                match self.store.commit(transaction).await {
                    Ok(_) => return Ok(()),
                    Err(CommitError::Conflict(_)) => {}
                    Err(error) => return Err(NotMade::Failed(error.to_string())),
                }
            }
        })
    }
}

/// Adds one to the number under `key`.
pub(crate) fn add_one(transaction: &mut Transaction, key: &str) {
    let count = crate::support::get(transaction, key).map_or(0, |count| count.parse::<u64>().unwrap());
    crate::support::put(transaction, key, &(count + 1).to_string());
}
