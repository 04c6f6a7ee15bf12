use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The clock of a fake host. It moves only when told to.
#[derive(Clone, Debug)]
pub struct Clock {
    since_epoch: Rc<Cell<Duration>>,
}

impl Default for Clock {
    fn default() -> Clock {
        // 2026-01-01T00:00:00Z
        Clock {
            since_epoch: Rc::new(Cell::new(Duration::from_secs(1_767_225_600))),
        }
    }
}

impl Clock {
    /// The time.
    pub fn now(&self) -> SystemTime {
        UNIX_EPOCH + self.since_epoch.get()
    }

    /// Sets the time. Times before 1970 count as its beginning.
    pub fn set(&self, time: SystemTime) {
        self.since_epoch
            .set(time.duration_since(UNIX_EPOCH).unwrap_or_default());
    }

    /// Lets time pass.
    pub fn advance(&self, time: Duration) {
        self.since_epoch.set(self.since_epoch.get().saturating_add(time));
    }

    /// The contract's form of time. The year 2554 is its end.
    pub(super) fn unix_nanos(&self) -> u64 {
        u64::try_from(self.since_epoch.get().as_nanos()).unwrap_or(u64::MAX)
    }
}
