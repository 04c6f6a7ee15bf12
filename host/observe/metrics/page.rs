//! The text that a collector reads: OpenMetrics 1.0.
//!
//! It is written here rather than by a library because the libraries for it own the figures they show, in maps
//! that a call would have to look its labels up in. Here the figures stay where they arise.

use std::fmt::{Display, Write as _};

use super::instrument::Distribution;
use super::table::{Kind, Metric};

/// The media type of a page.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A page in the making.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
}

impl Page {
    /// Begins a metric. Each metric of the table stands once on a page, whether it has samples or not.
    pub(super) fn family(&mut self, metric: &'static Metric) -> Family<'_> {
        let Metric { name, help, kind, .. } = metric;
        let text = &mut self.text;
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(text, "# TYPE {name} {}", kind.as_str());
        if let Some(unit) = metric.unit() {
            let _ = writeln!(text, "# UNIT {name} {unit}");
        }
        let _ = writeln!(text, "# HELP {name} {}", escaped(help));
        Family { text, metric }
    }

    /// Writes a metric without labels.
    pub(super) fn single(&mut self, metric: &'static Metric, value: u64) {
        self.family(metric).sample(&[], value);
    }

    /// The whole text.
    pub(super) fn finish(mut self) -> String {
        self.text.push_str("# EOF\n");
        self.text
    }
}

/// The samples of one metric.
pub(super) struct Family<'p> {
    text: &'p mut String,
    metric: &'static Metric,
}

impl Family<'_> {
    /// A counter, a gauge or an info. Durations are given in nanoseconds and shown in seconds.
    ///
    /// `labels` are the values of the metric's labels, in the order of the table.
    pub(super) fn sample(&mut self, labels: &[&dyn Display], value: u64) {
        let suffix = match self.metric.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        self.line(suffix, labels, None, &self.scaled(value));
    }

    /// A histogram.
    pub(super) fn distribution(&mut self, labels: &[&dyn Display], distribution: &Distribution) {
        let mut count = 0;
        let bounds = distribution.bounds.iter().map(|bound| self.bound(*bound));
        let bounds: Vec<_> = bounds.chain(["+Inf".to_owned()]).collect();
        for (bound, within) in bounds.iter().zip(&distribution.counts) {
            count += within;
            self.line("_bucket", labels, Some(bound), &count.to_string());
        }
        self.line("_count", labels, None, &count.to_string());
        self.line("_sum", labels, None, &self.scaled(distribution.sum));
    }

    /// Bounds are floating-point numbers by the standard, and written as such.
    fn bound(&self, bound: u64) -> String {
        match self.metric.is_duration() {
            true => format!("{:?}", bound as f64 / 1e9),
            false => format!("{:?}", bound as f64),
        }
    }

    fn scaled(&self, value: u64) -> String {
        match self.metric.is_duration() {
            true => format!("{}.{:09}", value / 1_000_000_000, value % 1_000_000_000),
            false => value.to_string(),
        }
    }

    fn line(&mut self, suffix: &str, labels: &[&dyn Display], bound: Option<&str>, value: &str) {
        let Metric {
            name, labels: names, ..
        } = self.metric;
        debug_assert_eq!(names.len(), labels.len(), "the labels of {name}");
        let _ = write!(self.text, "{name}{suffix}");
        let labels = names
            .iter()
            .zip(labels)
            .map(|(name, value)| (*name, value.to_string()));
        let bound = bound.map(|bound| ("le", bound.to_owned()));
        let mut separator = '{';
        for (label, value) in labels.chain(bound) {
            let _ = write!(self.text, "{separator}{label}=\"{}\"", escaped(&value));
            separator = ',';
        }
        if separator == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

/// As the standard asks for label values and help texts.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('\n', "\\n")
        .replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::metrics::instrument::Durations;
    use std::time::Duration;

    static CALLS: Metric = Metric {
        name: "test_calls",
        kind: Kind::Counter,
        labels: &["plugin"],
        help: "Calls.",
    };
    static SECONDS: Metric = Metric {
        name: "test_call_seconds",
        kind: Kind::Histogram,
        labels: &[],
        help: "Time.",
    };

    #[test]
    fn label_values_cannot_forge_samples() {
        let mut page = Page::default();
        page.family(&CALLS).sample(&[&"a\"} 9\nb\\"], 3);
        assert_eq!(
            page.finish(),
            "# TYPE test_calls counter\n# HELP test_calls Calls.\n\
             test_calls_total{plugin=\"a\\\"} 9\\nb\\\\\"} 3\n# EOF\n"
        );
    }

    #[test]
    fn histograms_are_cumulative_and_in_seconds() {
        let durations = Durations::default();
        durations.observe(Duration::from_micros(50));
        durations.observe(Duration::from_millis(1));
        durations.observe(Duration::from_secs(60));
        let mut page = Page::default();
        page.family(&SECONDS).distribution(&[], &durations.distribution());
        let text = page.finish();
        for line in [
            "# UNIT test_call_seconds seconds",
            "test_call_seconds_bucket{le=\"5e-5\"} 1",
            "test_call_seconds_bucket{le=\"0.001\"} 2",
            "test_call_seconds_bucket{le=\"30.0\"} 2",
            "test_call_seconds_bucket{le=\"+Inf\"} 3",
            "test_call_seconds_count 3",
            "test_call_seconds_sum 60.001050000",
        ] {
            assert!(text.lines().any(|each| each == line), "{line}\n{text}");
        }
    }
}
