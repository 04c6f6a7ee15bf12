//! What an operator wants to be told, and by which expression: `deploy/prometheus/alerts.yaml`, and the table in
//! `docs/metrics.md`.

use std::fmt::Write as _;

const HEAD: &str = "\
# Alerts for Prometheus, and what takes its rules. Try them with
#
#     promtool check rules alerts.yaml
#
# `page` is for what should wake somebody, `ticket` for what can wait until morning. Thresholds are where to begin:
# what is slow, and how many failures are too many, is for each service to say.
#
# Generated from host/observe/metrics/alerts.rs. Edit the rows there, then run
# MORTISE_WRITE_DOCS=1 cargo test --test cli

groups:
  - name: mortise
    rules:
";

/// How urgent an alert is.
#[derive(Debug, Clone, Copy)]
enum Severity {
    Page,
    Ticket,
}

use Severity::{Page, Ticket};

/// One rule.
struct Alert {
    name: &'static str,
    expression: &'static str,
    /// For how long it must hold, as Prometheus writes it.
    lasting: &'static str,
    severity: Severity,
    /// What it means and what to do, in one line.
    meaning: &'static str,
}

const fn alert(
    name: &'static str,
    severity: Severity,
    lasting: &'static str,
    expression: &'static str,
    meaning: &'static str,
) -> Alert {
    Alert {
        name,
        expression,
        lasting,
        severity,
        meaning,
    }
}

const ALERTS: &[Alert] = &[
    alert(
        "MortiseDown",
        Page,
        "1m",
        "up{job=\"mortise\"} == 0",
        "the host is gone, or its administration does not answer",
    ),
    alert(
        "MortiseRestarts",
        Ticket,
        "0m",
        "changes(process_start_time_seconds{job=\"mortise\"}[1h]) > 2",
        "the host starts again and again: the log has the last lines before each end; the kernel's log tells if it \
         was out of memory",
    ),
    alert(
        "MortiseStoreFailed",
        Page,
        "0m",
        "mortise_store_up == 0",
        "the store has failed: calls that need it are refused until the cause is mended and the host has opened it again",
    ),
    alert(
        "MortiseNotServing",
        Page,
        "5m",
        "mortise_live_generation == 0",
        "a plugin is not loaded: the host is still starting, and `mortise status` says what it waits for",
    ),
    alert(
        "MortiseCallsFail",
        Page,
        "5m",
        "sum by (plugin) (rate(mortise_plugin_calls_total{code=~\"UNKNOWN|INTERNAL|DATA_LOSS\"}[5m])) \
         > 0.01 * sum by (plugin) (rate(mortise_plugin_calls_total[5m]))",
        "more than 1 % of a plugin's calls end by a fault; the log has the causes",
    ),
    alert(
        "MortiseTraps",
        Ticket,
        "0m",
        "sum by (plugin, generation) (rate(mortise_traps_total[5m])) > 0",
        "a plugin crashes; the log has its stack",
    ),
    alert(
        "MortisePluginRefused",
        Ticket,
        "1m",
        "mortise_plugin_refused == 1",
        "a new file of a plugin was refused and the old one serves on; `mortise status` has the reason",
    ),
    alert(
        "MortiseDeadlinesMissed",
        Page,
        "5m",
        "sum by (plugin) (rate(mortise_host_statuses_total{reason=\"DEADLINE_EXCEEDED\"}[5m])) \
         > 0.01 * sum by (plugin) (rate(mortise_plugin_calls_total[5m]))",
        "more than 1 % of a plugin's calls run out of time: compare the stages in the lines `slow call`",
    ),
    alert(
        "MortiseSlow",
        Ticket,
        "10m",
        "histogram_quantile(0.99, sum by (plugin, le) (rate(mortise_call_seconds_bucket[5m]))) > 1",
        "one call in a hundred takes more than a second: compare the stages in the lines `slow call`",
    ),
    alert(
        "MortiseNearlyFull",
        Ticket,
        "5m",
        "mortise_calls_admitted > 0.9 * mortise_calls_admitted_max",
        "the host is close to refusing calls: it needs more room, or something that its calls wait for is slow",
    ),
    alert(
        "MortiseOverloaded",
        Page,
        "5m",
        "sum by (plugin) (rate(mortise_admission_refusals_total{reason!=\"RATE_LIMITED\"}[5m])) \
         > 0.01 * sum by (plugin) (rate(mortise_plugin_calls_total[5m]))",
        "more than 1 % of a plugin's calls are refused for load",
    ),
    alert(
        "MortiseConflicts",
        Ticket,
        "10m",
        "sum by (plugin) (rate(mortise_call_conflicts_total[5m])) \
         > 0.1 * sum by (plugin) (rate(mortise_plugin_calls_total[5m]))",
        "handlers read and write the same keys, and run again and again",
    ),
    alert(
        "MortiseSlowDisk",
        Ticket,
        "10m",
        "histogram_quantile(0.99, sum by (le) (rate(mortise_store_group_seconds_bucket[5m]))) > 0.25",
        "making writes durable takes long: the disk is slow, shared or failing",
    ),
    alert(
        "MortiseEventsWait",
        Page,
        "5m",
        "mortise_event_lag_seconds > 60",
        "a sink takes no events; when `events.max_undelivered` wait, calls that publish are refused",
    ),
    alert(
        "MortiseUpstreamLeftAlone",
        Page,
        "1m",
        "mortise_upstream_breaker_open == 1",
        "a target keeps failing, and calls to it fail at once",
    ),
    alert(
        "MortiseUpstreamFails",
        Ticket,
        "5m",
        "sum by (plugin, target) (rate(mortise_upstream_calls_total{origin=\"host\"}[5m])) \
         > 0.05 * sum by (plugin, target) (rate(mortise_upstream_calls_total[5m]))",
        "more than 5 % of a plugin's calls to a target get no answer from it",
    ),
    alert(
        "MortiseHandshakesFail",
        Ticket,
        "10m",
        "rate(mortise_tls_handshake_failures_total[5m]) > 1",
        "clients without the right certificates, or the host's own has expired",
    ),
    alert(
        "MortiseClientsTurnedAway",
        Ticket,
        "10m",
        "rate(mortise_connections_refused_total[5m]) > 0",
        "connections are closed for what their clients do; `reason` says what",
    ),
    alert(
        "MortiseDescriptorsRunOut",
        Page,
        "5m",
        "process_open_fds{job=\"mortise\"} > 0.8 * process_max_fds{job=\"mortise\"}",
        "the system will refuse connections: raise the limit of open files",
    ),
    alert(
        "MortiseMemoryGrowths",
        Ticket,
        "1h",
        "sum by (plugin, generation) (rate(mortise_guest_memory_growths_total[5m])) \
         > 0.01 * sum by (plugin, generation) (rate(mortise_calls_total[5m]))",
        "not a fault but a cost: the plugin was built with too small an initial memory",
    ),
];

/// The file of rules.
pub fn yaml() -> String {
    let mut page = HEAD.to_owned();
    for Alert {
        name,
        expression,
        lasting,
        severity,
        meaning,
    } in ALERTS
    {
        let severity = match severity {
            Page => "page",
            Ticket => "ticket",
        };
        // Writing to a String cannot fail. A single quote in YAML's single quotes is written twice.
        let _ = write!(
            page,
            "      - alert: {name}\n        expr: |-\n          {expression}\n        for: {lasting}\n        \
             labels: {{ severity: {severity} }}\n        annotations:\n          summary: '{}'\n",
            meaning.replace('\'', "''")
        );
    }
    page
}

/// The rows of a table in Markdown: expression and meaning.
pub(super) fn rows() -> String {
    let rows = ALERTS.iter().map(|alert| {
        // In a table a bar ends the cell, in code too.
        let expression = alert.expression.replace('|', "\\|");
        format!("| {} | `{expression}` | {} |\n", alert.name, alert.meaning)
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::table::{self, Kind, Metric};
    use super::*;

    fn words(text: &str) -> impl Iterator<Item = &str> {
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
    }

    /// Which metric a sample in an expression is of.
    fn metric_of(sample: &str) -> Option<&'static Metric> {
        table::ALL.iter().copied().find(|metric| {
            let bucket = format!("{}_bucket", metric.name);
            metric.sample_name() == sample || (metric.kind == Kind::Histogram && bucket == sample)
        })
    }

    #[test]
    fn expressions_use_metrics_and_labels_that_exist() {
        for Alert { name, expression, .. } in ALERTS {
            let samples: Vec<_> = words(expression)
                .filter(|word| word.starts_with("mortise_") || word.starts_with("process_"))
                .collect();
            let mut labels = BTreeSet::from(["le", "job"]);
            for sample in &samples {
                let metric = metric_of(sample).unwrap_or_else(|| panic!("{name}: there is no {sample}"));
                labels.extend(metric.labels);
            }
            assert!(!samples.is_empty() || expression.starts_with("up{"), "{name}");
            // Labels stand in `by (…)`, and in `{…}` before an operator.
            let grouped = expression.split(" by (").skip(1);
            let grouped = grouped.filter_map(|rest| rest.split(')').next());
            let matched = expression.split('{').skip(1);
            let matched = matched.filter_map(|rest| rest.split(['=', '!']).next());
            for label in grouped.chain(matched).flat_map(|list| list.split(", ")) {
                assert!(
                    labels.contains(label),
                    "{name}: {label} is no label of {samples:?}"
                );
            }
        }
    }

    #[test]
    fn names_are_unlike_and_say_whose_they_are() {
        let names: BTreeSet<_> = ALERTS.iter().map(|alert| alert.name).collect();
        assert_eq!(names.len(), ALERTS.len());
        assert!(names.iter().all(|name| name.starts_with("Mortise")));
    }
}
