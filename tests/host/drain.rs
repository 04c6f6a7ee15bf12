//! A drain that nothing cuts short, as a load balancer sees it: served on, told to go elsewhere, and waited for.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::in_both_modes;
use crate::support::frames::{
    DATA, END_HEADERS, END_STREAM, FrameClient, GOAWAY, HEADERS, PING, Received, block, frame,
};
use crate::support::{Isolation, Plugin, Setup};

in_both_modes!(the_delay_is_waited_out_and_calls_in_flight_finish);

const ACK: u8 = 0x1;

/// The head of a call. What it asks is an empty message.
fn head(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block("/faults.v1.Faults/Count"))
}

fn message(stream: u32) -> Vec<u8> {
    frame(DATA, END_STREAM, stream, &[0; 5])
}

/// The frames up to the one that is `wanted`.
async fn until(client: &mut FrameClient, wanted: impl Fn(&Received) -> bool) -> Vec<Received> {
    let mut frames = Vec::new();
    loop {
        let received = client.next().await.expect("the host goes on");
        // A host that sends GOAWAY finds out by this what else was on its way.
        if received.kind == PING && received.flags & ACK == 0 {
            client.send(&frame(PING, ACK, 0, &received.payload)).await;
        }
        let found = wanted(&received);
        frames.push(received);
        if found {
            return frames;
        }
    }
}

/// The frames up to the end of a call, which has an answer.
async fn answer(client: &mut FrameClient, stream: u32) -> Vec<Received> {
    let ends = |frame: &Received| frame.stream == stream && frame.flags & END_STREAM != 0;
    let frames = until(client, ends).await;
    let data = frames
        .iter()
        .filter(|frame| frame.stream == stream && frame.kind == DATA);
    assert_eq!(data.count(), 1, "{frames:?}");
    frames
}

fn is_goaway(frame: &Received) -> bool {
    frame.kind == GOAWAY
}

async fn the_delay_is_waited_out_and_calls_in_flight_finish(isolation: Isolation) {
    // On a busy machine the delay may be over before the host is asked anything.
    for delay in [1, 10] {
        if drain(isolation, Duration::from_secs(delay)).await {
            return;
        }
    }
    panic!("the host was never asked within the delay");
}

/// False if the call that was to be served within the delay came too late.
async fn drain(isolation: Isolation, delay: Duration) -> bool {
    let section = format!("[server]\ndrain_delay_ms = {}", delay.as_millis());
    let host = Setup::of(Plugin::faults(isolation)).with(&section).start().await;
    let mut client = FrameClient::begin(host.address).await;
    // In flight from here to the end: its message has not come.
    client.send(&head(1)).await;
    client.send(&[head(3), message(3)].concat()).await;
    answer(&mut client, 3).await;

    let signalled = Instant::now();
    host.signal(Signal::TERM);
    host.wait_until("faults.v1.Faults", ServingStatus::NotServing)
        .await;
    client.send(&[head(5), message(5)].concat()).await;
    if answer(&mut client, 5).await.iter().any(is_goaway) {
        return false;
    }
    until(&mut client, is_goaway).await;
    assert!(signalled.elapsed() >= delay);

    client.send(&message(1)).await;
    answer(&mut client, 1).await;
    assert_eq!(client.end().await, Some(0), "GOAWAY, without an error");
    assert_eq!(host.exit().await.code(), Some(0));
    true
}
