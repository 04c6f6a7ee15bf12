//! Calls that read and write the same, one after the other.
//!
//! Transactions are optimistic: of those that overlap on a key one commits, and the others have run in
//! vain. With many callers of one key that would be nearly all. So a call that has lost waits for its turn
//! on what it lost over, and has it until it ends; one that would commit what others have a turn on waits
//! behind them instead.
//!
//! Only what a call both reads and writes is worth a turn: of the calls that have it in common no two can
//! overlap anyway. Those that merely read what others write would be kept from running side by side.
//!
//! That calls are serialisable is for the store to see to. This is about the work that is lost.

use std::time::Duration;

use crate::capability::store::{Rewritten, Transaction};
use crate::deadline::Deadline;
use crate::status::Failure;
use crate::turns::{Turn, Turns, WaitOptions};

/// Who has waited as long runs without a turn: it may be that whoever has it waits for this very call,
/// which it made by way of an upstream.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// Further calls try their luck.
const MAX_WAITING: usize = 1_000;

/// What calls are in each other's way over.
#[derive(Debug)]
pub struct Contention {
    turns: Turns<Rewritten>,
}

/// A call, as far as others are in its way. It has one turn at a time: two calls could wait for each other's.
#[derive(Debug)]
pub struct Contender<'c> {
    turns: &'c Turns<Rewritten>,
    turn: Option<Turn<'c, Rewritten>>,
}

impl Default for Contention {
    fn default() -> Self {
        let options = WaitOptions {
            max_wait: MAX_WAIT,
            max_waiting: MAX_WAITING,
        };
        Self {
            turns: Turns::new(options),
        }
    }
}

impl Contention {
    pub(crate) fn turns(&self) -> &Turns<Rewritten> {
        &self.turns
    }

    /// A call begins.
    pub fn enter(&self) -> Contender<'_> {
        Contender {
            turns: &self.turns,
            turn: None,
        }
    }
}

impl Contender<'_> {
    /// What others have a turn on, and `transaction` had better not be committed over.
    pub fn taken(&self, transaction: &Transaction) -> Option<Rewritten> {
        match self.turn {
            // With it the call has waited once, and goes ahead.
            Some(_) => None,
            None => self.turns.first_taken(transaction.rewritten()),
        }
    }

    /// Waits until the call may run again, after `attempts` of which the last lost `over` something.
    ///
    /// # Errors
    /// If the call expires.
    pub async fn lost(
        &mut self,
        over: Option<Rewritten>,
        attempts: u32,
        deadline: &Deadline,
    ) -> Result<(), Failure> {
        if let Some(over) = over {
            if self.turn.as_ref().is_some_and(|turn| turn.key() == over) {
                return Ok(());
            }
            self.turn = None;
            self.turn = self.turns.take(over, deadline).await?;
            if self.turn.is_some() {
                return Ok(());
            }
        }
        Ok(deadline.bound(tokio::time::sleep(back_off(attempts))).await?)
    }
}

/// Up to 1, 2, 4, 8 … 64 ms: rivals that met once should not meet again in step.
fn back_off(attempts: u32) -> Duration {
    let most = 1000 << attempts.saturating_sub(1).min(6);
    Duration::from_micros(rand::random_range(0..most))
}
