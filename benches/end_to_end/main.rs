//! What the host costs, from client to client, beside native servers: `cargo bench --bench end_to_end`.
//!
//! Every server is a process of its own, under the same load from this one, one after another in each round.
//! Every answer is checked. What counts are the ratios within one run; absolute figures change with the
//! machine and its load. A server's CPU time per call comes from the system's own accounting and does not
//! include the client's work.
//!
//! - `cargo bench --bench end_to_end -- calls payloads` measures these alone; `docs/performance.md` says what there is.
//! - `--quick` runs one short round of each, to see that it works.
//! - `--json FILE` writes every figure of every round.
//!
//! It fails if something happened that must not, such as a wrong answer. A target that is missed is said.

mod client;
mod load;
mod logic;
mod pb;
mod peers;
mod report;
mod scenarios;
#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::process::ExitCode;

use report::{Report, Run};
use scenarios::{ALL, Context};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if peers::serve(&arguments) {
        return ExitCode::SUCCESS;
    }
    let (mut names, mut quick, mut json) = (Vec::new(), false, None);
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => quick = true,
            "--json" => json = arguments.next().map(PathBuf::from),
            // Of cargo.
            "--bench" => {}
            name => names.push(name.to_owned()),
        }
    }
    if let Some(unknown) = names
        .iter()
        .find(|name| ALL.iter().all(|(known, ..)| known != name))
    {
        let known: Vec<_> = ALL.iter().map(|(name, ..)| *name).collect();
        eprintln!("there is no {unknown:?}: {}", known.join(", "));
        return ExitCode::from(2);
    }
    let context = Context {
        quick,
        bench: support::components::build("bench"),
    };
    let mut report = Report {
        run: Run::now(peers::versions()),
        scenarios: Vec::new(),
    };
    for (name, ordinary, run) in ALL {
        let wanted = if names.is_empty() {
            *ordinary
        } else {
            names.iter().any(|wanted| wanted == name)
        };
        if wanted {
            let scenario = run(&context);
            scenario.print();
            report.scenarios.push(scenario);
        }
    }
    println!("\n{} targets missed", report.missed());
    if let Some(file) = json {
        report.write(&file);
    }
    match report.failed() {
        false => ExitCode::SUCCESS,
        true => ExitCode::FAILURE,
    }
}
