//! `mortise:plugin/timers`.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::generated::mortise::plugin::timers::Host;
use super::{CallState, Error, fake_host_answers};
use crate::capability::Error as CapabilityError;
use crate::observe::printable;

/// Of a method's name in a message.
const MAX_SHOWN_BYTES: usize = 256;

impl Host for CallState {
    fn schedule(&mut self, when: u64, method: String, request: Vec<u8>) -> Result<String, Error> {
        fake_host_answers!(self, "timers.schedule", when, method, request);
        let plugin = self.plugin.clone();
        let attempt = self.serving()?;
        if !plugin.methods.contains(&method) {
            let shown = printable(&method, MAX_SHOWN_BYTES);
            return Err(CapabilityError::invalid(format!("the plugin has no method {shown}")).into());
        }
        let when = SystemTime::UNIX_EPOCH + Duration::from_nanos(when);
        let id = attempt
            .transaction
            .schedule(when, &method, Bytes::from(request))?;
        Ok(id.to_string())
    }

    fn cancel(&mut self, id: String) -> Result<bool, Error> {
        fake_host_answers!(self, "timers.cancel", id);
        Ok(self.serving()?.transaction.cancel(&id)?)
    }
}
