//! Time, memory and stack, used without measure.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Rounds between two looks at the clock: a call that computes should rarely enter the host.
const ROUNDS: u64 = 10_000;

/// Bytes allocated at once.
const BLOCK: usize = 1024 * 1024;

pub fn compute_for_ever() -> ! {
    let mut state = 1;
    loop {
        state = black_box(round(state));
    }
}

/// Rounds computed in the time.
pub fn compute_for(milliseconds: u32) -> u64 {
    let began = Instant::now();
    let time = Duration::from_millis(milliseconds.into());
    let mut state = 1;
    let mut rounds = 0;
    while began.elapsed() < time {
        for _ in 0..ROUNDS {
            state = black_box(round(state));
        }
        rounds += ROUNDS;
    }
    rounds
}

/// Computes at least so many rounds, and says how many.
pub fn compute(rounds: u64) -> u64 {
    let mut state = 1;
    let rounds = rounds.next_multiple_of(ROUNDS);
    for _ in 0..rounds {
        state = black_box(round(state));
    }
    rounds
}

fn round(state: u64) -> u64 {
    state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1)
}

/// Milliseconds that really passed.
pub fn sleep(milliseconds: u32) -> u64 {
    let began = Instant::now();
    std::thread::sleep(Duration::from_millis(milliseconds.into()));
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Ends the instance as a wild pointer or a failed check in foreign code would. A function of its own in the
/// stack that the operator reads.
#[inline(never)]
pub fn trap() -> ! {
    #[cfg(target_family = "wasm")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_family = "wasm"))]
    std::process::abort();
}

/// Bytes granted until memory was refused; with `abort` the refusal ends the instance instead.
pub fn eat_memory(abort: bool) -> u64 {
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    loop {
        let mut block = Vec::new();
        if abort {
            block.reserve_exact(BLOCK);
        } else if block.try_reserve_exact(BLOCK).is_err() || blocks.try_reserve(1).is_err() {
            return (blocks.len() * BLOCK) as u64;
        }
        block.resize(BLOCK, 1); // Touches every page.
        blocks.push(black_box(block));
    }
}

/// Goes down until the stack ends.
#[inline(never)]
pub fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if depth == u64::MAX {
        return depth;
    }
    // Used after the call, so the call cannot become a jump.
    recurse(depth + 1).max(frame[0])
}

pub fn bytes(count: u32) -> Vec<u8> {
    vec![b'x'; count as usize]
}
