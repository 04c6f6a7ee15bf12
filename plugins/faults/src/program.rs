//! Whatever a test wants done to the store.

use mortise_guest::store::RawScan;
use mortise_guest::{Call, Status};

use crate::pb::run_program_request::Step;
use crate::pb::run_program_request::step::Step as Kind;
use crate::pb::run_program_response::Seen;
use crate::pb::{Row, RunProgramRequest, RunProgramResponse};

pub fn run(call: &Call, request: RunProgramRequest) -> Result<RunProgramResponse, Status> {
    let seen = request.steps.into_iter().map(|step| take(call, step));
    let seen = seen.collect::<Result<_, _>>()?;
    if request.fail {
        return Err(Status::aborted("failed as told"));
    }
    Ok(RunProgramResponse {
        seen,
        attempt: call.attempt(),
    })
}

fn take(call: &Call, Step { step }: Step) -> Result<Seen, Status> {
    let store = call.store();
    let there = |key: Vec<u8>, is_there: bool| {
        let row = Row {
            key,
            ..Row::default()
        };
        is_there.then_some(row).into_iter().collect()
    };
    let rows = match step {
        None => return Err(Status::invalid_argument("a step must be set")),
        Some(Kind::Get(key)) => {
            let found = store.get(&key)?;
            let row = found.map(|found| Row {
                key,
                value: found.value,
                version: found.version,
            });
            row.into_iter().collect()
        }
        Some(Kind::Put(Row { key, value, .. })) => {
            store.put(&key, &value)?;
            Vec::new()
        }
        Some(Kind::Insert(Row { key, value, .. })) => {
            let inserted = store.insert(&key, &value)?;
            there(key, !inserted)
        }
        Some(Kind::Delete(key)) => {
            let deleted = store.delete(&key)?;
            there(key, deleted)
        }
        Some(Kind::Scan(scan)) => {
            let page = store.scan(RawScan {
                start: scan.start,
                end: scan.end,
                cursor: None,
                descending: scan.descending,
                limit: scan.limit,
            })?;
            let rows = page.entries.into_iter().map(|entry| Row {
                key: entry.key,
                value: entry.value,
                version: entry.version,
            });
            rows.collect()
        }
    };
    Ok(Seen { rows })
}
