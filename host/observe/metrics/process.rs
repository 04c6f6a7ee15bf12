//! Figures of the process. What the system does not tell is left out.

use std::fs;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::instrument::nanos;
use super::page::Page;
use super::table;

/// The first look stands for the start of the process, which is a few milliseconds earlier.
static STARTED: LazyLock<(SystemTime, Instant)> = LazyLock::new(|| (SystemTime::now(), Instant::now()));

/// To be called when the host starts.
pub fn started() {
    LazyLock::force(&STARTED);
}

/// When the host started.
pub fn start_time() -> SystemTime {
    STARTED.0
}

/// How long the host has been there.
pub fn uptime() -> Duration {
    STARTED.1.elapsed()
}

/// Processor time that the calling thread has used.
pub fn thread_cpu_time() -> Duration {
    duration(clock_gettime(ClockId::ThreadCPUTime))
}

pub(super) fn show(page: &mut Page) {
    let cpu = duration(clock_gettime(ClockId::ProcessCPUTime));
    page.single(&table::PROCESS_CPU_SECONDS, nanos(cpu));
    let since_epoch = start_time().duration_since(SystemTime::UNIX_EPOCH);
    page.single(
        &table::PROCESS_START_TIME_SECONDS,
        nanos(since_epoch.unwrap_or_default()),
    );

    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut optional = |metric, value: Option<u64>| {
        let mut family = page.family(metric);
        if let Some(value) = value {
            family.sample(&[], value);
        }
    };
    let kib = |name| Some(1024 * field(&status, name)?);
    optional(&table::PROCESS_RESIDENT_MEMORY_BYTES, kib("VmRSS:"));
    optional(&table::PROCESS_VIRTUAL_MEMORY_BYTES, kib("VmSize:"));
    optional(&table::PROCESS_THREADS, field(&status, "Threads:"));
    // Reading the folder opens one more.
    let open = fs::read_dir("/proc/self/fd").map(|entries| entries.count().saturating_sub(1) as u64);
    optional(&table::PROCESS_OPEN_FDS, open.ok());
    optional(&table::PROCESS_MAX_FDS, getrlimit(Resource::Nofile).current);
}

fn duration(time: rustix::time::Timespec) -> Duration {
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
}

/// The number after `name` in proc_pid_status(5).
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
