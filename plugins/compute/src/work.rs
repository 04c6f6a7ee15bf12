//! The work, free of any server: the benchmark compiles this file into a native one too.

use std::hash::{DefaultHasher, Hasher};

use serde_json::{Value, json};

use super::pb::{Kind, Outcome, Work};

const HASHED_BYTES: usize = 2 << 20;
const SORTED_NUMBERS: usize = 60_000;
const DOCUMENT_ORDERS: usize = 1_500;

/// Computes.
///
/// # Errors
/// If it is not said what.
pub fn run(work: &Work) -> Result<Outcome, &'static str> {
    let mut numbers = Numbers(work.seed | 1);
    let checksum = match work.kind() {
        Kind::Unspecified => return Err("a kind of work must be named"),
        Kind::Hash => hash(&mut numbers),
        Kind::Sort => sort(&mut numbers),
        Kind::Json => json(&mut numbers)?,
    };
    Ok(Outcome { checksum })
}

fn hash(numbers: &mut Numbers) -> u64 {
    let block: Vec<u8> = numbers.take(512).flat_map(u64::to_le_bytes).collect();
    let mut hasher = DefaultHasher::new();
    for _ in 0..HASHED_BYTES / block.len() {
        hasher.write(&block);
    }
    hasher.finish()
}

fn sort(numbers: &mut Numbers) -> u64 {
    let mut sorted: Vec<u64> = numbers.take(SORTED_NUMBERS).collect();
    sorted.sort_unstable();
    sorted
        .iter()
        .fold(0, |sum, number| u64::rotate_left(sum, 5) ^ number)
}

fn json(numbers: &mut Numbers) -> Result<u64, &'static str> {
    let orders: Vec<Value> = (0..DOCUMENT_ORDERS)
        .map(|_| {
            let [id, price] = [(); 2].map(|()| numbers.next().unwrap_or_default());
            json!({
                "id": format!("ORD-{id:016X}"),
                "customer": {"name": "Ada \"the first\" Lovelace", "verified": true},
                "items": [{"sku": "kettle", "quantity": 2, "price": price >> 40}],
            })
        })
        .collect();
    let written = Value::Array(orders).to_string();
    let read: Value = serde_json::from_str(&written).map_err(|_| "the document is one")?;
    let mut hasher = DefaultHasher::new();
    hasher.write(read.to_string().as_bytes());
    Ok(hasher.finish())
}

/// Xorshift: the same numbers everywhere.
struct Numbers(u64);

impl Iterator for Numbers {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Some(self.0)
    }
}
