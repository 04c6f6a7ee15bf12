//! What the system says of a process (proc(5)).

use std::process::{Command, Stdio};
use std::time::Duration;

/// By its number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    /// This one.
    pub(crate) fn own() -> Self {
        Self(std::process::id())
    }

    /// User and system time so far, of all threads.
    pub(crate) fn cpu_time(self) -> Duration {
        let stat = self.read("stat");
        // The second field, the program's name, may hold spaces and ends with the last parenthesis.
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |index: usize| fields[index].parse::<u64>().expect("ticks");
        // Fields 14 and 15, in ticks of 10 ms.
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// Bytes in memory now.
    pub(crate) fn resident(self) -> u64 {
        self.status("VmRSS:") << 10
    }

    /// The most bytes in memory since the last [`forget_peak`](Self::forget_peak).
    pub(crate) fn peak(self) -> u64 {
        self.status("VmHWM:") << 10
    }

    pub(crate) fn forget_peak(self) {
        std::fs::write(self.path("clear_refs"), "5").expect("it is a process of this user");
    }

    pub(crate) fn threads(self) -> u64 {
        self.status("Threads:")
    }

    /// Lets it, with all its threads, use one processor only.
    pub(crate) fn pin(self, processor: u32) {
        let status = Command::new("taskset")
            .args(["--all-tasks", "--pid", "--cpu-list"])
            .args([processor.to_string(), self.0.to_string()])
            .stdout(Stdio::null())
            .status()
            .expect("taskset, of util-linux, is there");
        assert!(status.success(), "there is no processor {processor}");
    }

    fn status(self, field: &str) -> u64 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).expect("a number")
    }

    fn read(self, file: &str) -> String {
        std::fs::read_to_string(self.path(file)).expect("it runs")
    }

    fn path(self, file: &str) -> String {
        format!("/proc/{}/{file}", self.0)
    }
}
