use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use redb::StorageBackend;

/// The parts of a write that reach a disk one without the other, in bytes.
pub(crate) const SECTOR: usize = 512;

/// What was written is seen at once, as through a system's cache, and survives a kill. A power cut leaves
/// what an fsync has secured, and of the rest any sectors.
#[derive(Debug, Clone)]
pub(crate) struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Clone)]
struct State {
    /// As it looks while there is power.
    now: Vec<u8>,
    /// As of the last fsync.
    safe: Vec<u8>,
    since: Vec<Change>,
    /// Writes and fsyncs until one fails, and all that follow it.
    left: Option<usize>,
    kind: io::ErrorKind,
    fails_reads: bool,
    /// Of the next power cut.
    seed: u64,
}

#[derive(Debug, Clone)]
enum Change {
    Length(usize),
    Write(usize, Vec<u8>),
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Length(length) => to.resize(*length, 0),
            Self::Write(offset, data) => write(to, *offset, data),
        }
    }
}

fn write(to: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if to.len() < end {
        to.resize(end, 0);
    }
    to[offset..end].copy_from_slice(data);
}

/// What of a write lies in one sector each.
fn sectors(offset: usize, mut data: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut begin = offset;
    std::iter::from_fn(move || {
        let (sector, rest) = data.split_at(data.len().min(SECTOR - begin % SECTOR));
        let found = (begin, sector);
        begin += sector.len();
        data = rest;
        (!sector.is_empty()).then_some(found)
    })
}

impl State {
    fn step(&mut self) -> io::Result<()> {
        match &mut self.left {
            None => Ok(()),
            Some(0) => Err(self.kind.into()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    /// What fails may have reached the disk all the same.
    fn change(&mut self, change: Change) -> io::Result<()> {
        let step = self.step();
        if step.is_ok() {
            change.apply(&mut self.now);
        }
        self.since.push(change);
        step
    }

    /// Off and on again. Of what came after the last fsync, that which begins where `stays` says is there.
    fn cut_power(&mut self, mut stays: impl FnMut(usize) -> bool) {
        for change in std::mem::take(&mut self.since) {
            match change {
                Change::Length(length) if !stays(length) => {}
                Change::Length(_) => change.apply(&mut self.safe),
                Change::Write(offset, data) => sectors(offset, &data)
                    .filter(|(offset, _)| stays(*offset))
                    .for_each(|(offset, sector)| write(&mut self.safe, offset, sector)),
            }
        }
        self.now.clone_from(&self.safe);
        (self.left, self.fails_reads) = (None, false);
    }
}

impl Disk {
    pub(crate) fn new(seed: u64) -> Self {
        Self::of(State {
            now: Vec::new(),
            safe: Vec::new(),
            since: Vec::new(),
            left: None,
            kind: io::ErrorKind::Other,
            fails_reads: false,
            seed,
        })
    }

    fn of(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    /// Off and on again. Of what came after the last fsync each sector may be there.
    pub(crate) fn cut_power(&self) {
        let state = &mut *self.0.lock();
        let mut random = StdRng::seed_from_u64(state.seed);
        state.seed = random.random();
        state.cut_power(|_| random.random());
    }

    /// Another one, with what a kill of the host would leave of this now.
    pub(crate) fn killed(&self) -> Self {
        let mut state = self.0.lock().clone();
        (state.left, state.fails_reads) = (None, false);
        Self::of(state)
    }

    /// Another one, with what a power cut would leave of this now: what the last fsync has secured, and of
    /// the rest the sectors, and parts of them, that begin where `stays` says.
    pub(crate) fn after_power_cut(&self, stays: impl FnMut(usize) -> bool) -> Self {
        let mut state = self.0.lock().clone();
        state.cut_power(stays);
        Self::of(state)
    }

    /// The same with what the last fsync has secured, and nothing else.
    pub(crate) fn without_power(&self) -> Self {
        self.after_power_cut(|_| false)
    }

    /// Leaves out what is empty: most of a log is.
    pub(crate) fn copy_to(&self, file: &Path) {
        const PAGE: usize = 4_096;
        let content = &self.0.lock().now;
        let file = File::create(file).unwrap();
        file.set_len(content.len() as u64).unwrap();
        for (page, offset) in content.chunks(PAGE).zip((0..).step_by(PAGE)) {
            if page.iter().any(|byte| *byte != 0) {
                file.write_all_at(page, offset).unwrap();
            }
        }
    }

    /// Writes and fsyncs fail after so many more of them.
    pub(crate) fn fail_after(&self, operations: usize, kind: io::ErrorKind) {
        let mut state = self.0.lock();
        (state.left, state.kind) = (Some(operations), kind);
    }

    pub(crate) fn fail_reads(&self, fails: bool) {
        self.0.lock().fails_reads = fails;
    }

    /// Turns bits of what is there, for good.
    pub(crate) fn damage(&self, bytes: Range<usize>) {
        let state = &mut *self.0.lock();
        for content in [&mut state.now, &mut state.safe] {
            content[bytes.clone()].iter_mut().for_each(|byte| *byte ^= 0xff);
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let state = self.0.lock();
        if state.fails_reads {
            return Err(io::Error::other("the disk cannot be read"));
        }
        let found = state.now.get(offset..offset + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0
            .lock()
            .change(Change::Length(usize::try_from(length).unwrap()))
    }

    fn sync_data(&self) -> io::Result<()> {
        let state = &mut *self.0.lock();
        state.step()?;
        for change in state.since.drain(..) {
            change.apply(&mut state.safe);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.0.lock().change(Change::Write(offset, data.to_vec()))
    }
}
