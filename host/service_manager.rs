//! What a service manager such as systemd is told (sd_notify(3)): that the host serves, that it is alive, that it
//! ends. Where NOTIFY_SOCKET names nobody, nobody is told.

use std::time::Duration;

use sd_notify::NotifyState;

/// What ending takes beside draining: closing the store, and handing over the last events.
const CLOSING: Duration = Duration::from_secs(30);

/// That the host serves.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// That the host ends, and that this may take so long: its own bounds for draining hold, whatever the service
/// manager allows by itself.
pub fn stopping(draining: Duration) {
    let micros = (draining + CLOSING).as_micros();
    let micros = u32::try_from(micros).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(micros)]);
}

/// That the host is alive, twice in the time after which the service manager takes it for stuck (WATCHDOG_USEC),
/// until dropped. To be run by the threads that serve calls: when they are stuck, it is not said any more.
pub async fn keep_alive() {
    let Some(patience) = sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero()) else {
        return;
    };
    let mut due = tokio::time::interval(patience / 2);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::warn!(%error, "the service manager could not be told how the host is");
    }
}
