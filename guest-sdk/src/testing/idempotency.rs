//! Calls with an `idempotency-key`: the real host's rules, as it is configured by default.

use std::collections::BTreeMap;
use std::time::Duration;

use super::answer::{Failure, Metadata, Response};
use super::request::Request;
use crate::Status;

const HEADER: &str = "idempotency-key";
const MAX_KEY_BYTES: usize = 255;
const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// Answers by what their keys are scoped by.
#[derive(Debug, Default)]
pub(super) struct Answers(BTreeMap<Scoped, Recorded>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Scoped {
    caller: Option<String>,
    method: String,
    key: String,
}

#[derive(Debug)]
struct Recorded {
    /// In nanoseconds since the Unix epoch.
    at: u64,
    request: Vec<u8>,
    response: Response<Vec<u8>>,
}

impl Answers {
    /// The answer to an earlier call with the same key and message.
    pub(super) fn get(
        &self,
        scoped: &Scoped,
        message: &[u8],
        now: u64,
    ) -> Result<Option<Response<Vec<u8>>>, Status> {
        let retention = u64::try_from(RETENTION.as_nanos()).unwrap_or(u64::MAX);
        let recorded = self.0.get(scoped);
        match recorded.filter(|recorded| recorded.at.saturating_add(retention) > now) {
            None => Ok(None),
            Some(recorded) if recorded.request == message => Ok(Some(recorded.response.clone())),
            Some(_) => {
                let message = "This idempotency-key was used with another request";
                Err(Status::failed_precondition(message))
            }
        }
    }

    pub(super) fn record(&mut self, scoped: Scoped, message: &[u8], response: &Response<Vec<u8>>, now: u64) {
        let recorded = Recorded {
            at: now,
            request: message.to_owned(),
            response: response.clone(),
        };
        self.0.insert(scoped, recorded);
    }
}

impl Scoped {
    /// None for a call without a key.
    pub(super) fn of(request: &Request, method: &str) -> Result<Option<Scoped>, Status> {
        let mut values = request.metadata.iter().filter(|entry| entry.key == HEADER);
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let several = values.next().is_some();
        let key = parse(&value.value, several)
            .map_err(|what| Status::invalid_argument(format!("Malformed idempotency-key: {what}")))?;
        Ok(Some(Scoped {
            caller: request.principal.as_ref().map(|principal| principal.id.clone()),
            method: method.to_owned(),
            key,
        }))
    }
}

/// A call that ends before its handler runs.
pub(super) fn refused(status: Status) -> Failure {
    Failure {
        status,
        headers: Metadata::default(),
        trailers: Metadata::default(),
    }
}

fn parse(value: &[u8], several: bool) -> Result<String, &'static str> {
    if several {
        return Err("it is there more than once");
    }
    let text = str::from_utf8(value).unwrap_or_default().trim_ascii();
    if !value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
        return Err("it is not ASCII");
    }
    let key = match text.strip_prefix('"') {
        Some(quoted) => unquote(quoted).ok_or("its quotes are not those of a string")?,
        None if text.contains(['"', ',', ';', ' ', '\t']) => {
            return Err("without quotes it may have no blanks, quotes, commas and semicolons");
        }
        None => text.to_owned(),
    };
    match key.len() {
        0 => Err("it is empty"),
        1..=MAX_KEY_BYTES => Ok(key),
        _ => Err("it is longer than 255 bytes"),
    }
}

fn unquote(quoted: &str) -> Option<String> {
    let mut key = String::new();
    let mut characters = quoted.strip_suffix('"')?.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => key.push(
                characters
                    .next()
                    .filter(|escaped| matches!(escaped, '"' | '\\'))?,
            ),
            '"' => return None,
            plain => key.push(plain),
        }
    }
    Some(key)
}
