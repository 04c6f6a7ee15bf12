//! What a host shows of its figures, read as strictly as a collector may.

use std::collections::{BTreeMap, BTreeSet};

/// A page of OpenMetrics text.
#[derive(Debug)]
pub(crate) struct Exposition {
    pub(crate) text: String,
    families: BTreeMap<String, Family>,
    samples: Vec<Sample>,
}

#[derive(Debug, Default)]
struct Family {
    kind: String,
    unit: String,
    help: String,
}

#[derive(Debug)]
struct Sample {
    family: String,
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Exposition {
    /// Reads a page.
    ///
    /// # Panics
    /// If it breaks the format: OpenMetrics 1.0, section "Text format".
    #[track_caller]
    pub(crate) fn parse(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("it ends with # EOF");
        assert!(
            body.ends_with('\n') && !body.contains('\r'),
            "lines end with a line feed"
        );
        let mut page = Self {
            text: text.to_owned(),
            families: BTreeMap::new(),
            samples: Vec::new(),
        };
        let mut current = String::new();
        for line in body.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                page.describe(&mut current, comment);
            } else {
                let sample = sample(line, &current);
                page.samples.push(sample);
            }
        }
        page.check_samples();
        page
    }

    fn describe(&mut self, current: &mut String, comment: &str) {
        let (what, rest) = comment.split_once(' ').expect("TYPE, UNIT or HELP");
        let (name, text) = rest.split_once(' ').expect("a name and a text");
        assert!(is_name(name), "{name}");
        if what == "TYPE" {
            let known = self.families.insert(name.to_owned(), Family::default());
            assert!(known.is_none(), "{name} stands twice");
            name.clone_into(current);
        }
        assert_eq!(name, current, "the lines of a metric stand together");
        let family = self.families.get_mut(name).expect("TYPE comes first");
        let place = match what {
            "TYPE" => &mut family.kind,
            "UNIT" => {
                assert!(name.ends_with(&format!("_{text}")), "{name} has the unit {text}");
                &mut family.unit
            }
            "HELP" => &mut family.help,
            _ => panic!("{comment}"),
        };
        assert!(place.is_empty(), "{comment} stands twice");
        text.clone_into(place);
    }

    fn check_samples(&self) {
        let mut seen = BTreeSet::new();
        for Sample {
            family,
            name,
            labels,
            value,
        } in &self.samples
        {
            assert!(seen.insert((name, labels)), "{name} {labels:?} stands twice");
            let kind = self.families[family].kind.as_str();
            let suffix = &name[family.len()..];
            let fits = match kind {
                "counter" => suffix == "_total" && *value >= 0.0,
                "gauge" => suffix.is_empty(),
                "info" => suffix == "_info" && *value == 1.0,
                "histogram" => ["_bucket", "_count", "_sum"].contains(&suffix),
                _ => false,
            };
            assert!(fits, "{name} is no sample of the {kind} {family}");
            assert_eq!(labels.contains_key("le"), suffix == "_bucket", "{name}");
        }
        for (name, family) in &self.families {
            assert!(!family.help.is_empty(), "{name} has no help");
            if family.kind == "histogram" {
                self.check_histogram(name);
            }
        }
    }

    /// Buckets rise with their bounds, to the count.
    fn check_histogram(&self, family: &str) {
        let mut series: BTreeMap<_, Vec<(f64, f64)>> = BTreeMap::new();
        for sample in self
            .samples
            .iter()
            .filter(|sample| sample.name == format!("{family}_bucket"))
        {
            let mut labels = sample.labels.clone();
            let bound = labels.remove("le").expect("a bucket has a bound");
            let bound = if bound == "+Inf" {
                f64::INFINITY
            } else {
                bound.parse().expect("a number")
            };
            series.entry(labels).or_default().push((bound, sample.value));
        }
        for (labels, buckets) in series {
            assert!(
                buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1),
                "{family} {labels:?}"
            );
            let (last, count) = buckets.last().expect("not empty");
            assert!(last.is_infinite());
            let labels: Vec<_> = labels
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            assert_eq!(
                self.value(&format!("{family}_count"), &labels),
                Some(*count),
                "{family}"
            );
        }
    }

    /// The names of all metrics, with type and help.
    pub(crate) fn families(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        let families = self.families.iter();
        families.map(|(name, family)| (name.as_str(), family.kind.as_str(), family.help.as_str()))
    }

    /// The names of the labels that samples of a metric have, the bound of a bucket apart.
    pub(crate) fn labels(&self, family: &str) -> BTreeSet<Vec<&str>> {
        let samples = self.samples.iter().filter(|sample| sample.family == family);
        samples
            .map(|sample| {
                let names = sample.labels.keys().map(String::as_str);
                names.filter(|name| *name != "le").collect()
            })
            .collect()
    }

    /// The sample of this name with exactly these labels.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        let mut samples = self.samples.iter().filter(|sample| sample.name == name);
        let found = samples.find(|sample| {
            let theirs = sample
                .labels
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()));
            theirs.eq(labels.iter().map(|(name, value)| (*name, *value)))
        });
        Some(found?.value)
    }

    /// The sum of all samples of this name that have these labels, among others.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let samples = self.samples.iter().filter(|sample| sample.name == name);
        let fits = |sample: &&Sample| {
            let mut labels = labels.iter();
            labels.all(|(name, value)| sample.labels.get(*name).is_some_and(|theirs| theirs == value))
        };
        samples.filter(fits).map(|sample| sample.value).sum()
    }
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// `name{label="value",...} value`
fn sample(line: &str, family: &str) -> Sample {
    let end = line.find(['{', ' ']).expect("a name ends");
    let (name, mut rest) = line.split_at(end);
    assert!(
        is_name(name) && name.starts_with(family),
        "{line} stands below {family}"
    );
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, value) = rest.split_once("=\"").expect("a label has a value");
            assert!(is_name(label), "{line}");
            let (value, after) = quoted(value);
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            match after.strip_prefix(',') {
                Some(more) => rest = more,
                None => {
                    rest = after.strip_prefix('}').expect("labels end with }");
                    break;
                }
            }
        }
    }
    let value = rest.strip_prefix(' ').expect("one space before the value");
    Sample {
        family: family.to_owned(),
        name: name.to_owned(),
        labels,
        value: value.parse().expect("a number"),
    }
}

/// The text up to the closing quote, and what follows it.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                other => panic!("{other:?} is not to be escaped"),
            },
            other => value.push(other),
        }
    }
    panic!("{text} has no end")
}
