//! SIGTERM and Ctrl-C: the first drains, the second ends the process at once.

use tokio::signal::unix::{SignalKind, signal};

/// The exit code after a second signal, as shells report SIGTERM: 128 + 15.
const EXIT_ON_SECOND_SIGNAL: i32 = 143;

/// Listens from now on, and returns what waits for the first signal and from then on for a second one.
///
/// # Errors
/// If the process cannot listen to signals.
pub fn requested() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(
            signal = name,
            "draining; a second signal ends the process at once"
        );
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("second signal: calls in flight are cut off");
            std::process::exit(EXIT_ON_SECOND_SIGNAL);
        });
    })
}
