//! Leaves a target alone that keeps failing.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A circuit breaker: closed, it counts failures in a row; open, it lets nothing through for a while; then it
/// lets one call try, whose outcome closes or opens it again.
#[derive(Debug)]
pub(super) struct Breaker {
    /// Failures in a row that open it; 0 never does.
    threshold: u32,
    open_for: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Present while open.
    open_until: Option<Instant>,
    trying: bool,
}

/// Leave to make one call. Dropped without a verdict, because the caller went away, it changes nothing.
#[derive(Debug)]
pub(super) struct Leave<'b> {
    breaker: &'b Breaker,
    trial: bool,
}

/// A change worth a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Opened,
    Closed,
}

impl Breaker {
    pub(super) fn new(threshold: u32, open_for: Duration) -> Self {
        Self {
            threshold,
            open_for,
            state: Mutex::default(),
        }
    }

    /// Whether the target is left alone, a trial apart.
    pub(super) fn is_open(&self) -> bool {
        self.state.lock().open_until.is_some()
    }

    /// Leave to make a call now, or how long to wait before asking again.
    pub(super) fn ask(&self, now: Instant) -> Result<Leave<'_>, Duration> {
        let mut state = self.state.lock();
        let trial = match state.open_until {
            None => false,
            Some(until) if now < until => return Err(until - now),
            // Somebody tries already; how long that takes is not known.
            Some(_) if state.trying => return Err(self.open_for),
            Some(_) => {
                state.trying = true;
                true
            }
        };
        Ok(Leave { breaker: self, trial })
    }
}

impl Leave<'_> {
    /// How the call went.
    pub(super) fn judge(self, well: bool, now: Instant) -> Option<Change> {
        let mut state = self.breaker.state.lock();
        // What began before the breaker opened says nothing of the target's recovery.
        if state.open_until.is_some() && !self.trial {
            return None;
        }
        if well {
            state.failures = 0;
            return state.open_until.take().map(|_| Change::Closed);
        }
        state.failures = state.failures.saturating_add(1);
        let opens = self.trial || (self.breaker.threshold > 0 && state.failures >= self.breaker.threshold);
        if !opens {
            return None;
        }
        state.open_until = Some(now + self.breaker.open_for);
        (!self.trial).then_some(Change::Opened)
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if self.trial {
            self.breaker.state.lock().trying = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(5);

    fn fail(breaker: &Breaker, now: Instant) -> Option<Change> {
        breaker.ask(now).expect("closed, or a trial").judge(false, now)
    }

    #[test]
    fn failures_in_a_row_open_it() {
        let (breaker, now) = (Breaker::new(3, OPEN_FOR), Instant::now());
        assert_eq!(fail(&breaker, now), None);
        assert_eq!(fail(&breaker, now), None);
        assert_eq!(breaker.ask(now).expect("closed").judge(true, now), None);
        assert_eq!(fail(&breaker, now), None);
        assert_eq!(fail(&breaker, now), None);
        assert_eq!(fail(&breaker, now), Some(Change::Opened));
        assert_eq!(breaker.ask(now).expect_err("open"), OPEN_FOR);
        let later = now + Duration::from_secs(3);
        assert_eq!(breaker.ask(later).expect_err("open"), Duration::from_secs(2));
    }

    #[test]
    fn one_trial_decides() {
        let (breaker, now) = (Breaker::new(1, OPEN_FOR), Instant::now());
        fail(&breaker, now);
        let then = now + OPEN_FOR;
        let trial = breaker.ask(then).expect("a trial");
        assert!(breaker.ask(then).is_err(), "one at a time");
        assert_eq!(trial.judge(false, then), None);
        assert_eq!(breaker.ask(then).expect_err("open again"), OPEN_FOR);
        let then = then + OPEN_FOR;
        assert_eq!(
            breaker.ask(then).expect("a trial").judge(true, then),
            Some(Change::Closed)
        );
        assert!(breaker.ask(then).is_ok());
    }

    #[test]
    fn a_trial_whose_caller_went_away_makes_room_for_another() {
        let (breaker, now) = (Breaker::new(1, OPEN_FOR), Instant::now());
        fail(&breaker, now);
        let then = now + OPEN_FOR;
        drop(breaker.ask(then).expect("a trial"));
        assert!(breaker.ask(then).is_ok());
    }

    #[test]
    fn calls_from_before_it_opened_do_not_close_it() {
        let (breaker, now) = (Breaker::new(1, OPEN_FOR), Instant::now());
        let early = breaker.ask(now).expect("closed");
        fail(&breaker, now);
        assert_eq!(early.judge(true, now), None);
        assert!(breaker.ask(now).is_err());
    }

    #[test]
    fn a_threshold_of_zero_never_opens_it() {
        let (breaker, now) = (Breaker::new(0, OPEN_FOR), Instant::now());
        for _ in 0..1000 {
            assert_eq!(fail(&breaker, now), None);
        }
    }
}
