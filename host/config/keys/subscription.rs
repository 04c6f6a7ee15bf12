//! `[subscriptions.NAME]` and `[timers]`: calls that the host makes itself.

use std::time::Duration;

use crate::capability::events::TopicPattern;
use crate::config::setting::{
    GIB, KIB, MIB, TIB, Text, Topics, bytes, count, count_u32, long_bytes, long_count, millis,
};

section! {
    /// Events that go to a method of a plugin. NAME is the operator's choice, by the rule of plugin names;
    /// where it stands among the events is kept under it, so a new name begins with the oldest event that
    /// still waits for anybody. An event's payload is the request; its other attributes are metadata.
    /// docs/events.md says what the plugin may rely on.
    Subscription at "subscriptions.NAME" {
        /// The topics: `order.created`, or `order.*` for all that begin so, or `*` for all there are.
        /// Required.
        "topics" => topics: Vec<TopicPattern> = Topics;
        /// The plugin, by the operator's name. Required.
        "plugin" => plugin: String = Text("the NAME of a `[plugins.NAME]`");
        /// The method, `package.Service/Method`, which may be internal. Required.
        "method" => method: String = Text("`package.Service/Method`");
        /// The most calls at once, each with an event of another key. Those of one key are made one after
        /// another.
        "max_concurrent" => max_concurrent: usize = count(16, 1, 1000);
        /// How often an event is tried, with pauses that double from 100 ms to 10 s, before it is given up
        /// and becomes a dead letter. Meanwhile those of its key wait, and all that come later than the 256
        /// events around it.
        "max_attempts" => max_attempts: u32 = count_u32(10, 1, 1000);
        /// How long a call may take, unless the method has a `default_deadline_ms`. Its `max_deadline_ms`
        /// holds too.
        "timeout_ms" => timeout: Duration = millis(30_000, 1, 86_400_000);
    }
}

named!(Subscription);

section! {
    /// Calls that plugins leave for later: timers, and dead letters that are tried again.
    Timers at "timers" {
        /// The most timers that one call may schedule. A plugin that exceeds this or another bound on timers
        /// is told which, and decides how its call ends.
        "max_per_call" => max_per_call: usize = count(100, 1, 10_000);
        /// The longest request of a timer.
        "max_request_bytes" => max_request_bytes: usize = bytes(64 * KIB, 64, GIB);
        /// The most timers that one plugin may have pending.
        "max_pending" => max_pending: u64 = long_count(100_000, 1, 1_000_000_000);
        /// The most bytes that the pending timers of one plugin may have.
        "max_pending_bytes" => max_pending_bytes: u64 = long_bytes(256 * MIB, MIB, 16 * TIB);
        /// The most timers of one plugin whose calls are made at once. They wait for their turn as any call
        /// does.
        "max_concurrent" => max_concurrent: usize = count(16, 1, 1000);
        /// How often a timer's call is made, with pauses that double from 200 ms to 30 s, before it is given
        /// up and becomes a dead letter.
        "max_attempts" => max_attempts: u32 = count_u32(10, 1, 1000);
        /// How long a call may take, unless the method has a `default_deadline_ms`. Its `max_deadline_ms`
        /// holds too.
        "timeout_ms" => timeout: Duration = millis(30_000, 1, 86_400_000);
    }
}

top_level!(Timers);
