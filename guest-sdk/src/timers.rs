//! Calls of the plugin's own methods that the host makes later.

use std::fmt;
use std::marker::PhantomData;
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use crate::{Status, host};

/// A method whose requests are `Req`s, to schedule calls of. The code generator makes a constant of each
/// method that the plugin serves: `pb::OrderServiceMethod::CREATE_ORDER`.
pub struct Method<Req> {
    path: &'static str,
    _request: PhantomData<fn(Req)>,
}

impl<Req> Method<Req> {
    /// For the code generator.
    #[doc(hidden)]
    pub const fn new(path: &'static str) -> Method<Req> {
        Method {
            path,
            _request: PhantomData,
        }
    }

    /// `/package.Service/Method`.
    pub fn path(&self) -> &'static str {
        self.path
    }
}

impl<Req> Clone for Method<Req> {
    fn clone(&self) -> Method<Req> {
        *self
    }
}

impl<Req> Copy for Method<Req> {}

impl<Req> fmt::Debug for Method<Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Method").field(&self.path).finish()
    }
}

/// Names a timer, to cancel it by. It can be stored as text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TimerId(String);

impl TimerId {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As text.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl AsRef<str> for TimerId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TimerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) fn schedule<Req: Message>(
    when: SystemTime,
    method: Method<Req>,
    request: &Req,
) -> Result<TimerId, Status> {
    let when = when.duration_since(UNIX_EPOCH).unwrap_or_default();
    // The year 2554 is the end of the contract's time.
    let when = u64::try_from(when.as_nanos()).unwrap_or(u64::MAX);
    let id = host::timers::schedule(when, method.path, &request.encode_to_vec())?;
    Ok(TimerId(id))
}

pub(crate) fn cancel(id: &str) -> Result<bool, Status> {
    Ok(host::timers::cancel(id)?)
}
