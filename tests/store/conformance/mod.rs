//! What a store does over any backend: the same list for each of them.

mod entries;
mod with_them;

use mortise::capability::Namespace;
use mortise::capability::store::{Entry, Store};

use crate::support::*;

fn other() -> Namespace {
    Namespace::new("other").unwrap()
}

fn all(store: &Store) -> Vec<Entry> {
    read(store).blocking_scan(&everything()).unwrap().entries
}
