//! What a host wrote to standard error.

use std::io::{BufRead, BufReader};
use std::process::ChildStderr;

use serde_json::Value;
use tokio::sync::watch;

use super::within_patience;

/// One line: JSON from the log, plain text from the command line.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) text: String,
    json: Value,
}

impl Line {
    fn new(text: String) -> Self {
        let json = serde_json::from_str(&text).unwrap_or_default();
        Self { text, json }
    }

    pub(crate) fn level(&self) -> &str {
        self.json["level"].as_str().unwrap_or_default()
    }

    pub(crate) fn target(&self) -> &str {
        self.json["target"].as_str().unwrap_or_default()
    }

    pub(crate) fn message(&self) -> &str {
        self.json["fields"]["message"].as_str().unwrap_or_default()
    }

    /// A field of the event.
    pub(crate) fn field(&self, name: &str) -> &Value {
        &self.json["fields"][name]
    }

    /// A field of the call it belongs to.
    pub(crate) fn call(&self, name: &str) -> &Value {
        &self.json["span"][name]
    }
}

/// Everything so far. Clones see what comes later too.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    lines: watch::Receiver<Vec<Line>>,
}

impl Log {
    /// Reads on a thread of its own: the host must never wait for its log to be read.
    pub(crate) fn follow(stderr: ChildStderr) -> Self {
        let (write, lines) = watch::channel(Vec::new());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n') {
                let Ok(line) = line else { break };
                let line = Line::new(String::from_utf8_lossy(&line).into_owned());
                write.send_modify(|lines| lines.push(line));
            }
        });
        Self { lines }
    }

    /// The first line that `is`, now or later.
    pub(crate) async fn wait_for(&self, what: &str, is: impl Fn(&Line) -> bool) -> Line {
        self.wait_for_after(0, what, is).await
    }

    /// The same, among the lines after the first `skip`.
    pub(crate) async fn wait_for_after(&self, skip: usize, what: &str, is: impl Fn(&Line) -> bool) -> Line {
        let mut lines = self.lines.clone();
        let found = lines.wait_for(|lines| lines.iter().skip(skip).any(&is));
        let Ok(lines) = within_patience(&format!("the log line: {what}"), found).await else {
            panic!("the host ended without the log line: {what}\n{}", self.text());
        };
        let line = lines.iter().skip(skip).find(|line| is(line));
        line.expect("it was found").clone()
    }

    /// The lines so far that `are`.
    pub(crate) fn all(&self, are: impl Fn(&Line) -> bool) -> Vec<Line> {
        self.lines
            .borrow()
            .iter()
            .filter(|line| are(line))
            .cloned()
            .collect()
    }

    /// How many lines there are so far.
    pub(crate) fn len(&self) -> usize {
        self.lines.borrow().len()
    }

    /// Everything so far, as it was written.
    pub(crate) fn text(&self) -> String {
        self.lines
            .borrow()
            .iter()
            .map(|line| line.text.clone() + "\n")
            .collect()
    }

    /// Waits until the host has closed its standard error.
    pub(crate) async fn ended(&self) {
        let mut lines = self.lines.clone();
        within_patience("the end of the log", async {
            while lines.changed().await.is_ok() {}
        })
        .await;
    }
}
