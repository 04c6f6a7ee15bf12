//! Hosts that are killed under load, again and again: whatever clients were told is so when the host is back,
//! nothing is there by halves, every event is delivered, and a call that is repeated gets the answer it would
//! have got.
//!
//! `MORTISE_CRASHES=1000 cargo test --test host crash` kills a thousand.

mod clients;
mod doomed;

use std::time::Duration;

use rand::RngExt;

use crate::support::{Isolation, Plugin, Setup, components};
use clients::Clients;
use doomed::{Doom, Doomed, Moment};

/// How often hosts are killed, by all tests here together.
const CRASHES: &str = "MORTISE_CRASHES";
const FEW: usize = 20;

/// Of each of the two tests.
fn rounds() -> usize {
    let crashes = std::env::var(CRASHES).map(|crashes| crashes.parse().expect("a number"));
    crashes.unwrap_or(FEW).div_ceil(2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment() {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = || Setup::of(Plugin::order(Isolation::Call)).data(folder.path());
    let mut host = setup().start().await;
    for round in 0..rounds() {
        let mut clients = Clients::start(host.channel(), round);
        let (answers, microseconds) = {
            let mut random = rand::rng();
            (random.random_range(1..60), random.random_range(0..5_000))
        };
        clients.answered(answers).await;
        tokio::time::sleep(Duration::from_micros(microseconds)).await;
        host.kill().await;
        let clients = clients.ended().await;
        host = setup().start().await;
        clients.find_what_they_were_told(&host).await;
    }
    host.stop().await;
}

/// The host dies of one operation on its file after the other: before, in the midst of and after it. A commit
/// is a write and an fsync, and a checkpoint comes after every few.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_each_step_of_a_commit() {
    const STEPS: usize = 60;
    let component = &components().order;
    for round in 0..rounds() {
        let folder = tempfile::tempdir().expect("a folder");
        let doom = Doom {
            operation: 1 + round % STEPS,
            moment: Moment::ALL[(round + round / STEPS) % Moment::ALL.len()],
        };
        let host = Doomed::start(component, folder.path(), doom).await;
        let clients = Clients::start(host.channel(), round).ended().await;
        host.died().await;
        let host = Setup::of(Plugin::order(Isolation::Call)).data(folder.path());
        let host = host.start().await;
        clients.find_what_they_were_told(&host).await;
        host.stop().await;
    }
}
