//! `docs/metrics.md`, made from the table.

use std::fmt::Write as _;

use super::alerts;
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

const ALERTS: &str = "
## What to alert on

[deploy/prometheus/alerts.yaml](../deploy/prometheus/alerts.yaml) has these as rules, with how long each must hold and
how urgent it is. They expect that hosts are scraped by a job `mortise`, as above. Thresholds are where to begin.

| alert | expression | what it means |
|---|---|---|
";

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
    page.push_str(ALERTS);
    page.push_str(&alerts::rows());
    page
}
