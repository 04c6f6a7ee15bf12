//! What compiled code can do.

use prost::Message;
use tonic::Code;

use super::*;
use crate::support::pb::faults::misbehave_request::Way;
use crate::support::pb::faults::*;
use crate::support::raw::framed;

pub(super) fn compiled_faults() -> Vec<Fault> {
    fn call(what: &'static str, ends: Ends, method: &str, message: &impl Message) -> Fault {
        Fault {
            what,
            path: format!("/faults.v1.Faults/{method}"),
            body: framed(message),
            timeout: if ends == LATE { SHORT } else { "60S" },
            ends,
        }
    }
    fn way(what: &'static str, ends: Ends, way: Way) -> Fault {
        let request = MisbehaveRequest { way: way.into() };
        call(what, ends, "Misbehave", &request)
    }
    let entries = |entries: &[(&str, &str)]| -> Vec<Entry> {
        let entry = |(key, value): &(&str, &str)| Entry {
            key: (*key).into(),
            value: (*value).into(),
        };
        entries.iter().map(entry).collect()
    };
    let metadata = |initial: &[(&str, &str)]| FailRequest {
        code: 1,
        initial: entries(initial),
        ..FailRequest::default()
    };
    vec![
        call("a loop", LATE, "Loop", &LoopRequest {}),
        way("a loop many calls deep", LATE, Way::LoopInCalls),
        way("sleep past the deadline", LATE, Way::Sleep),
        way("a flood of cheap imports", LATE, Way::FloodImports),
        call(
            "memory growth",
            OUT_OF_MEMORY,
            "EatMemory",
            &EatMemoryRequest { abort: true },
        ),
        call("deep recursion", FAILED, "Recurse", &RecurseRequest {}),
        call("a panic", FAILED, "Panic", &PanicRequest::default()),
        way("a panic while panicking", FAILED, Way::PanicTwice),
        call("an unreachable instruction", FAILED, "Trap", &TrapRequest {}),
        way("abort", FAILED, Way::Abort),
        call("exit 0", FAILED, "Exit", &ExitRequest { code: 0 }),
        call("exit 1", FAILED, "Exit", &ExitRequest { code: 1 }),
        call(
            "an answer over the limit",
            TOO_LARGE,
            "HugeAnswer",
            &HugeAnswerRequest { bytes: 11 << 20 },
        ),
        call(
            "a panic after a write",
            FAILED,
            "WriteThen",
            &WriteThenRequest {
                key: "kept?".into(),
                ending: write_then_request::Ending::Panic.into(),
                ..WriteThenRequest::default()
            },
        ),
        way(
            "a status with huge details",
            Ends::Refused(Code::NotFound),
            Way::HugeDetails,
        ),
        call(
            "reserved metadata",
            INVALID,
            "Fail",
            &metadata(&[("grpc-status", "0")]),
        ),
        call(
            "metadata with a line break",
            INVALID,
            "Fail",
            &metadata(&[("a", "b\r\nc: d")]),
        ),
        way("a flood of metadata", OVER_A_LIMIT, Way::FloodMetadata),
        way("a flood of rate-limit buckets", OVER_A_LIMIT, Way::FloodBuckets),
        way("a flood of events", OVER_A_LIMIT, Way::FloodEvents),
        way("a flood of reads", OVER_A_LIMIT, Way::FloodReads),
        way("a flood of scans", OVER_A_LIMIT, Way::FloodScans),
        way("a flood of writes", OVER_A_LIMIT, Way::FloodWrites),
        way("a flood of written bytes", OVER_A_LIMIT, Way::FloodBytes),
        way("a flood of timers", OVER_A_LIMIT, Way::FloodTimers),
        way("a flood of cancelled timers", OVER_A_LIMIT, Way::FloodCancels),
        way("a timer with a huge request", OVER_A_LIMIT, Way::HugeTimer),
        way("a huge key", OVER_A_LIMIT, Way::HugeKey),
        way("a huge value", OVER_A_LIMIT, Way::HugeValue),
        way("a huge topic", INVALID, Way::HugeTopic),
        way("a huge piece of metadata", OVER_A_LIMIT, Way::HugeMetadata),
        way("a huge line of the log", Ends::Answered, Way::HugeLine),
        way("a flood of random bytes", LATE, Way::FloodRandom),
        call(
            "a flood of log lines",
            Ends::Answered,
            "Log",
            &LogRequest {
                lines: 5000,
                text: "wet".into(),
            },
        ),
        call(
            "a flood of output",
            Ends::Answered,
            "Print",
            &PrintRequest {
                lines: 5000,
                text: "wet".into(),
                unfinished: true,
            },
        ),
    ]
}
