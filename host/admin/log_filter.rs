//! Which log lines are written.

use tonic::Status;

use super::pb::{GetLogFilterResponse, SetLogFilterResponse};
use crate::config::check_log_filter;
use crate::observe::{logging, printable};

/// A longer one is none.
const MAX_FILTER_BYTES: usize = 4096;

pub(super) fn get() -> Result<GetLogFilterResponse, Status> {
    Ok(GetLogFilterResponse { filter: current()? })
}

pub(super) fn set(filter: &str) -> Result<SetLogFilterResponse, Status> {
    let previous = current()?;
    if filter.is_empty() || filter.len() > MAX_FILTER_BYTES {
        return Err(Status::invalid_argument(format!(
            "a log filter has 1 to {MAX_FILTER_BYTES} bytes"
        )));
    }
    check_log_filter(filter).map_err(Status::invalid_argument)?;
    // Before it is changed: the new one may leave this line out.
    let (shown, before) = (printable(filter, 256), printable(&previous, 256));
    tracing::warn!(filter = shown, before, "the log filter is changed");
    logging::set_filter(filter).map_err(|error| Status::invalid_argument(error.to_string()))?;
    Ok(SetLogFilterResponse { previous })
}

fn current() -> Result<String, Status> {
    logging::filter().ok_or_else(|| Status::failed_precondition("this host has no log"))
}
