//! What was measured: tables for people, and everything as JSON.

use std::path::Path;

use serde::Serialize;

/// Of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// What it was measured with.
    pub(crate) run: Run,
    pub(crate) scenarios: Vec<Scenario>,
}

/// What decides how large the figures are.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    /// After `cargo bench --bench end_to_end --`, whichever profile was built.
    arguments: Vec<String>,
    mortise: &'static str,
    /// Optimisation level of the host and of native servers in Rust.
    opt_level: &'static str,
    /// True in the profile `dev`, also where it is optimised; false in a plain `cargo bench`.
    debug_assertions: bool,
    rustc: String,
    kernel: String,
    processor: String,
    processors: usize,
    peers: Vec<String>,
}

impl Run {
    pub(crate) fn now(peers: Vec<String>) -> Self {
        let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = processor
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
        Self {
            arguments: arguments.collect(),
            mortise: env!("CARGO_PKG_VERSION"),
            opt_level: env!("MORTISE_OPT_LEVEL"),
            debug_assertions: cfg!(debug_assertions),
            rustc: output("rustc", &["--version"]),
            kernel: output("uname", &["-sr"]),
            processor: processor.map(|(_, name)| name.to_owned()).unwrap_or_default(),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            peers,
        }
    }
}

/// What a program prints, if it is there.
pub(crate) fn output(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program).args(arguments).output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}

impl Report {
    pub(crate) fn write(&self, file: &Path) {
        let json = serde_json::to_string_pretty(self).expect("it can be written");
        std::fs::write(file, json + "\n").expect("the file can be written");
    }

    /// How many targets were missed.
    pub(crate) fn missed(&self) -> usize {
        self.scenarios.iter().map(Scenario::missed).sum()
    }

    /// Whether something happened that must not.
    pub(crate) fn failed(&self) -> bool {
        self.scenarios
            .iter()
            .any(|scenario| !scenario.failures.is_empty())
    }
}

/// One scenario's figures: for each server and metric one for each round, and what they say of the targets.
#[derive(Debug, Serialize)]
pub(crate) struct Scenario {
    name: &'static str,
    title: String,
    notes: Vec<String>,
    /// What must not happen, whatever the figures.
    failures: Vec<String>,
    series: Vec<Series>,
    targets: Vec<Target>,
}

#[derive(Debug, Serialize)]
struct Series {
    server: String,
    metric: String,
    rounds: Vec<f64>,
}

/// What is held against a target.
#[derive(Debug, Serialize)]
struct Target {
    name: &'static str,
    what: String,
    spread: Spread,
    bound: Bound,
    /// By the median.
    reached: bool,
}

/// Over the rounds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        Self {
            min: at(0),
            median: at(values.len() / 2),
            max: at(values.len().saturating_sub(1)),
        }
    }
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

/// How two series are compared, round by round.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Compared {
    Ratio,
    Difference,
}

impl Scenario {
    pub(crate) fn new(name: &'static str, title: &str) -> Self {
        Self {
            name,
            title: title.to_owned(),
            notes: Vec::new(),
            failures: Vec::new(),
            series: Vec::new(),
            targets: Vec::new(),
        }
    }

    /// Something that the reader must know.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Something that must not happen. The benchmark goes on, and fails at its end.
    pub(crate) fn fail(&mut self, failure: impl Into<String>) {
        self.failures.push(failure.into());
    }

    /// The figure of one round.
    pub(crate) fn measured(&mut self, server: &str, metric: &str, value: f64) {
        let series = self
            .series
            .iter_mut()
            .find(|series| series.server == server && series.metric == metric);
        match series {
            Some(series) => series.rounds.push(value),
            None => self.series.push(Series {
                server: server.to_owned(),
                metric: metric.to_owned(),
                rounds: vec![value],
            }),
        }
    }

    fn rounds(&self, server: &str, metric: &str) -> &[f64] {
        let found = self
            .series
            .iter()
            .find(|series| series.server == server && series.metric == metric);
        found.map_or(&[], |series| &series.rounds)
    }

    pub(crate) fn spread(&self, server: &str, metric: &str) -> Spread {
        Spread::of(self.rounds(server, metric).iter().copied())
    }

    /// Of one server's figures to the other's, each round by itself.
    pub(crate) fn compared(&self, how: Compared, server: &str, base: &str, metric: &str) -> Spread {
        let pairs = self.rounds(server, metric).iter().zip(self.rounds(base, metric));
        Spread::of(pairs.map(|(value, base)| match how {
            Compared::Ratio => value / base,
            Compared::Difference => value - base,
        }))
    }

    /// Holds a figure against a target.
    pub(crate) fn target(
        &mut self,
        name: &'static str,
        what: impl Into<String>,
        spread: Spread,
        bound: Bound,
    ) {
        self.targets.push(Target {
            name,
            what: what.into(),
            spread,
            bound,
            reached: bound.holds(spread.median),
        });
    }

    /// How many targets were missed.
    pub(crate) fn missed(&self) -> usize {
        self.targets.iter().filter(|target| !target.reached).count()
    }

    /// For people: medians by server, then the targets.
    pub(crate) fn print(&self) {
        println!("\n## {}: {}\n", self.name, self.title);
        let (mut servers, mut metrics) = (Vec::new(), Vec::new());
        for series in &self.series {
            for (seen, name) in [(&mut servers, &series.server), (&mut metrics, &series.metric)] {
                if !seen.contains(&name) {
                    seen.push(name);
                }
            }
        }
        let cells: Vec<_> = metrics.iter().map(|metric| metric.as_str()).collect();
        println!(
            "| | {} |\n|---{}|",
            cells.join(" | "),
            "|---".repeat(metrics.len())
        );
        for server in servers {
            let cells: Vec<_> = metrics
                .iter()
                .map(|metric| shown(self.spread(server, metric).median))
                .collect();
            println!("| {server} | {} |", cells.join(" | "));
        }
        if !self.targets.is_empty() {
            println!("\n| target | | min | median | max | bound | |\n|---|---|---|---|---|---|---|");
        }
        for target in &self.targets {
            let Spread { min, median, max } = target.spread;
            let bound = match target.bound {
                Bound::AtLeast(bound) => format!("≥ {}", shown(bound)),
                Bound::AtMost(bound) => format!("≤ {}", shown(bound)),
            };
            let [min, median, max] = [min, median, max].map(shown);
            let verdict = if target.reached { "reached" } else { "missed" };
            let (name, what) = (target.name, &target.what);
            println!("| {name} | {what} | {min} | {median} | {max} | {bound} | {verdict} |");
        }
        for note in &self.notes {
            println!("\n{note}");
        }
        for failure in &self.failures {
            println!("\nFAILED: {failure}");
        }
    }
}

/// With three digits or so.
fn shown(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "–".to_owned(),
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 100.0 || value == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
