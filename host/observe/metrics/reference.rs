//! `docs/metrics.md`, made from the table.

use std::fmt::Write as _;

use super::table::{ALL, Metric};

const INTRODUCTION: &str = "\
# Metrics

<!-- Generated from host/observe/metrics. Edit the table or the text there, then run
     MORTISE_WRITE_DOCS=1 cargo test --test cli -->

A host shows what it counts as [OpenMetrics](https://prometheus.io/docs/specs/om/open_metrics_spec/) text, which
Prometheus and all that is compatible with it read:

- `mortise metrics` prints it, on the machine of the host;
- `GET /metrics` answers with it, where `[admin] listen` says: see [Operations](operations.md#administration).

```yaml
scrape_configs:
  - job_name: mortise
    static_configs:
      - targets: [\"127.0.0.1:9464\"]
```

## Reading them

- `plugin` is the operator's NAME, never what a plugin calls itself. `generation` numbers what was loaded, over all
  plugins, from 1 at each start of the host. `method` is one of those that a plugin's descriptors declare, so clients
  cannot add labels: calls of other paths are in `mortise_unrouted_calls`.
- The figures of a generation are shown while it is loaded, and those of the last three of each plugin that no longer
  are. Then they go. `rate()` and `increase()` need nothing else, as they look at one series at a time;
  `mortise_plugin_calls` counts on over all generations.
- Counting begins at 0 with each start of the host. Combinations of labels that have not occurred are left out.
- Time in the guest, `mortise_guest_cpu_seconds`, is the time for which sandboxes held a thread: it has in it what
  making them and the host functions that they call take, and nothing that they wait for. On the threads that serve it
  is the clock's, so that on a machine with too little of a processor it has in it when the system set the thread aside.
  For calls that compute for more than a few milliseconds, it is processor time.
- What each reason in `mortise_host_statuses`, `mortise_admission_refusals` and `mortise_unrouted_calls` means:
  [Statuses](status.md).

## The table

Samples of a counter end in `_total`, those of an info in `_info`, those of a histogram in `_bucket`, `_sum` and
`_count`. Durations are in seconds.

| metric | type | labels | meaning |
|---|---|---|---|
";

/// What an operator wants to be told, and by which expression.
const ALERTS: &[(&str, &str)] = &[
    (
        "up == 0",
        "the host is gone, or its administration does not answer",
    ),
    (
        "mortise_store_up == 0",
        "the store has failed: calls that need it are refused until the cause is mended and the host has opened it again",
    ),
    (
        "sum by (plugin, generation) (rate(mortise_traps_total[5m])) > 0",
        "a plugin crashes; the log has its stack",
    ),
    (
        "mortise_plugin_refused == 1",
        "a new file of a plugin was refused and the old one serves on; `mortise status` has the reason",
    ),
    (
        "sum by (plugin, reason) (rate(mortise_host_statuses_total{reason=\"DEADLINE_EXCEEDED\"}[5m])) > 1",
        "calls run out of time: compare the stages in the lines `slow call`",
    ),
    (
        "mortise_calls_admitted > 0.9 * mortise_calls_admitted_max",
        "the host is close to refusing calls",
    ),
    (
        "sum by (plugin, reason) (rate(mortise_admission_refusals_total[5m])) > 0",
        "calls are refused for load",
    ),
    (
        "sum by (plugin) (rate(mortise_call_conflicts_total[5m])) \
         > 0.1 * sum by (plugin) (rate(mortise_plugin_calls_total[5m]))",
        "handlers read and write the same keys, and run again and again",
    ),
    (
        "mortise_event_lag_seconds > 60",
        "a sink takes no events; when `events.max_undelivered` wait, calls that publish are refused",
    ),
    ("mortise_upstream_breaker_open == 1", "a target keeps failing"),
    (
        "rate(mortise_tls_handshake_failures_total[5m]) > 1",
        "clients without the right certificates, or the host's own has expired",
    ),
    (
        "rate(mortise_connections_refused_total[5m]) > 0",
        "clients are turned away; `reason` says why",
    ),
    (
        "process_open_fds > 0.8 * process_max_fds",
        "the system will refuse connections",
    ),
    (
        "sum by (plugin, generation) (rate(mortise_guest_memory_growths_total[5m])) \
         > 0.01 * sum by (plugin, generation) (rate(mortise_calls_total[5m]))",
        "not a fault but a cost: the plugin was built with too small an initial memory",
    ),
];

/// The whole page.
pub fn markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    for Metric {
        name,
        kind,
        labels,
        help,
    } in ALL
    {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| `{name}` | {} | {} | {help} |",
            kind.as_str(),
            labels.join(", ")
        );
    }
    page.push_str("\n## What to alert on\n\n| expression | what it means |\n|---|---|\n");
    for (expression, meaning) in ALERTS {
        let _ = writeln!(page, "| `{expression}` | {meaning} |");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_use_metrics_that_exist() {
        let names: Vec<_> = ALL.iter().map(|metric| metric.sample_name()).collect();
        for (expression, _) in ALERTS {
            let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let metrics = words.filter(|word| word.starts_with("mortise_") || word.starts_with("process_"));
            for metric in metrics {
                assert!(
                    names.iter().any(|name| name == metric),
                    "{metric} in {expression}"
                );
            }
        }
    }
}
