use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

use super::{Delivery, Event, Sink, SinkError, base64};
use crate::capability::directory;

/// An append-only file with one JSON object per line, made durable batch by batch.
///
/// Fields: `id`, `time` (RFC 3339, UTC), `plugin`, `topic`, `key`, `payload` (base64). A reader that wants
/// each event once remembers the ids it has seen. The host never shortens the file but for an incomplete last
/// line that a crash has left; to begin a new file, move the old one away while the host is stopped.
#[derive(Debug)]
pub struct JsonLines {
    file: Arc<Mutex<LineFile>>,
}

#[derive(Debug)]
struct LineFile {
    path: PathBuf,
    file: File,
    /// Bytes of whole, durable lines. What follows them was left by a write that failed.
    durable: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    id: String,
    time: String,
    plugin: &'a str,
    topic: &'a str,
    key: &'a str,
    payload: String,
}

impl JsonLines {
    /// Opens or creates (mode 0600) the file and removes an incomplete last line. Blocks on the disk.
    ///
    /// # Errors
    /// If the file cannot be opened, read or shortened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        let length = file.metadata()?.len();
        let durable = whole_lines(&mut file, length)?;
        if durable < length {
            tracing::warn!(
                ?path,
                bytes = length - durable,
                "removing the incomplete last line of the event file"
            );
            file.set_len(durable)?;
        }
        file.sync_all()?;
        directory::sync(directory::parent(path))?;
        let file = LineFile {
            path: path.to_owned(),
            file,
            durable,
        };
        Ok(Self {
            file: Arc::new(Mutex::new(file)),
        })
    }
}

impl Sink for JsonLines {
    fn name(&self) -> &str {
        "json-lines"
    }

    fn deliver<'a>(&'a mut self, events: &'a [Event]) -> Delivery<'a> {
        let lines = encode(events);
        let file = self.file.clone();
        Box::pin(async move {
            let written = tokio::task::spawn_blocking(move || file.lock().append(&lines?));
            written.await.map_err(|e| SinkError(e.to_string()))?
        })
    }
}

impl LineFile {
    fn append(&mut self, lines: &[u8]) -> Result<(), SinkError> {
        self.try_append(lines)
            .map_err(|cause| SinkError(format!("cannot write {:?}: {cause}", self.path)))
    }

    fn try_append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.file.metadata()?.len() > self.durable {
            self.file.set_len(self.durable)?;
        }
        self.file.write_all(lines)?;
        self.file.sync_data()?;
        self.durable = self.file.metadata()?.len();
        Ok(())
    }
}

fn encode(events: &[Event]) -> Result<Vec<u8>, SinkError> {
    let mut lines = Vec::new();
    for event in events {
        let line = Line {
            id: event.id(),
            time: humantime::format_rfc3339_nanos(event.time).to_string(),
            plugin: &event.plugin,
            topic: &event.topic,
            key: &event.key,
            payload: base64::encode(&event.payload),
        };
        serde_json::to_writer(&mut lines, &line).map_err(|e| SinkError(e.to_string()))?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// The length of `file` up to and including its last line feed.
fn whole_lines(file: &mut File, length: u64) -> io::Result<u64> {
    let mut block = [0; 8_192];
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let block = &mut block[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(block)?;
        if let Some(position) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + position as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}
