//! Holding metrics to values, and to the table.

use std::collections::BTreeSet;

use mortise::observe::metrics::table::{self, Kind, Metric};

use crate::support::exposition::Exposition;

/// Holds metrics to their values, and remembers which.
pub(super) struct Held {
    pub(super) page: Exposition,
    pub(super) names: BTreeSet<&'static str>,
}

impl Held {
    pub(super) fn of(page: Exposition) -> Self {
        Self {
            page,
            names: BTreeSet::new(),
        }
    }

    /// What the sample with these values of the metric's labels is; for a histogram, its count.
    #[track_caller]
    pub(super) fn value(&mut self, metric: &'static Metric, labels: &[&str]) -> f64 {
        self.names.insert(metric.name);
        assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
        let labels: Vec<_> = metric
            .labels
            .iter()
            .copied()
            .zip(labels.iter().copied())
            .collect();
        let value = self.page.value(&metric.sample_name(), &labels);
        value.unwrap_or_else(|| panic!("no {} {labels:?} in\n{}", metric.name, self.page.text))
    }

    #[track_caller]
    pub(super) fn is(&mut self, metric: &'static Metric, labels: &[&str], expected: f64) {
        let value = self.value(metric, labels);
        assert_eq!(value, expected, "{} {labels:?}", metric.name);
    }

    #[track_caller]
    pub(super) fn is_at_least(&mut self, metric: &'static Metric, labels: &[&str], least: f64) {
        let value = self.value(metric, labels);
        assert!(value >= least, "{} {labels:?} is {value}", metric.name);
    }

    #[track_caller]
    pub(super) fn is_within(&mut self, metric: &'static Metric, labels: &[&str], least: f64, most: f64) {
        let value = self.value(metric, labels);
        assert!(
            value >= least && value <= most,
            "{} {labels:?} is {value}",
            metric.name
        );
    }

    /// There is no sample of it.
    #[track_caller]
    pub(super) fn is_absent(&mut self, metric: &'static Metric, labels: &[&str]) {
        let labels: Vec<_> = metric
            .labels
            .iter()
            .copied()
            .zip(labels.iter().copied())
            .collect();
        assert_eq!(
            self.page.value(&metric.sample_name(), &labels),
            None,
            "{labels:?}"
        );
    }
}

/// Types, texts and labels are those of the table.
pub(super) fn shown_as_documented(page: &Exposition) {
    let shown: BTreeSet<_> = page.families().collect();
    let row = |metric: &&'static Metric| (metric.name, metric.kind.as_str(), metric.help);
    // Quotes are escaped in help texts.
    let escaped: Vec<_> = table::ALL
        .iter()
        .map(|metric| metric.help.replace('"', "\\\""))
        .collect();
    let rows = table::ALL.iter().map(row).zip(&escaped);
    let documented: BTreeSet<_> = rows
        .map(|((name, kind, _), help)| (name, kind, help.as_str()))
        .collect();
    assert_eq!(shown, documented);
    for metric in table::ALL {
        let mut names = metric.labels.to_vec();
        names.sort_unstable();
        for labels in page.labels(metric.name) {
            assert_eq!(labels, names, "{}", metric.name);
        }
        assert!(metric.kind != Kind::Info || !metric.labels.is_empty());
    }
}
