//! Pages of a list and the opaque tokens between them.
//!
//! A token is the position after which the next page begins, bound to the query it came from. It is not a
//! secret and grants nothing: whose orders a page may show is decided anew by every call. The checksum tells
//! a damaged or made-up token from an old one; whoever computes it can only page through what is theirs.

use super::hex;
use crate::pb::OrderStatus;

const DEFAULT_SIZE: usize = 50;
const MAX_SIZE: usize = 100;

/// Changes with the layout of tokens or the order of lists. Tokens of other versions are stale.
const VERSION: u8 = 1;
/// Three days. Bounds for how long a released layout must be remembered.
const LIFETIME_NANOS: i64 = 3 * 24 * 60 * 60 * 1_000_000_000;
/// Longest readable token in bytes, before hexadecimal: the fixed fields and an order's name.
const MAX_BYTES: usize = 1 + 4 * 8 + super::place::MAX_ID_BYTES;

/// The number of orders on a page for the `page_size` of a request; `None` if it is negative.
pub fn size(requested: i32) -> Option<usize> {
    match usize::try_from(requested).ok()? {
        0 => Some(DEFAULT_SIZE),
        size => Some(size.min(MAX_SIZE)),
    }
}

/// What is listed. Two calls list the same if and only if their queries are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Whose list it is: the caller's identity, empty for nobody.
    pub owner: String,
    /// Only this customer's orders, unless empty.
    pub customer: String,
    /// Only orders of this status, unless unspecified.
    pub status: OrderStatus,
}

impl Query {
    fn fingerprint(&self) -> u64 {
        let mut bytes = Vec::new();
        for text in [&self.owner, &self.customer] {
            // The length tells where one text ends and the next begins.
            bytes.extend((text.len() as u64).to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        bytes.extend(i32::from(self.status).to_be_bytes());
        fnv1a(&bytes)
    }
}

/// The place of an order in every list, which never changes: lists run from the highest to the lowest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// When the order was placed, in nanoseconds since the Unix epoch.
    pub created_at: i64,
    /// The order's name, which tells apart orders placed at the same time.
    pub order_id: String,
}

/// Why a token cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    /// Not text that this service wrote.
    Forged,
    /// Too old, or written by another release of this service.
    Stale,
    /// Written for another query.
    OtherQuery,
}

impl TokenError {
    /// What is wrong with the field, and what to do.
    pub fn description(self) -> &'static str {
        match self {
            Self::Forged => "is not a token of this service: pass next_page_token unchanged",
            Self::Stale => "is stale: start again from the first page",
            Self::OtherQuery => {
                "belongs to another query: keep the filters and the identity, or start from the first page"
            }
        }
    }
}

/// The token for the page after `last`. `now` is in nanoseconds since the Unix epoch.
pub fn token(query: &Query, last: &Position, now: i64) -> String {
    let mut bytes = Vec::with_capacity(MAX_BYTES);
    bytes.push(VERSION);
    bytes.extend(now.to_be_bytes());
    bytes.extend(query.fingerprint().to_be_bytes());
    bytes.extend(last.created_at.to_be_bytes());
    bytes.extend(last.order_id.as_bytes());
    bytes.extend(fnv1a(&bytes).to_be_bytes());
    let mut text = String::with_capacity(2 * bytes.len());
    hex::push(&mut text, &bytes, hex::LOWER);
    text
}

/// Where the page that `token` stands for begins.
pub fn position(token: &str, query: &Query, now: i64) -> Result<Position, TokenError> {
    if token.len() > 2 * MAX_BYTES {
        return Err(TokenError::Forged);
    }
    let bytes = hex::parse(token).ok_or(TokenError::Forged)?;
    let (content, checksum) = bytes.split_last_chunk::<8>().ok_or(TokenError::Forged)?;
    if fnv1a(content) != u64::from_be_bytes(*checksum) {
        return Err(TokenError::Forged);
    }
    // Every version ends with this checksum and begins with its number; nothing else is known of others.
    let (version, content) = content.split_first().ok_or(TokenError::Forged)?;
    if *version != VERSION {
        return Err(TokenError::Stale);
    }
    let (issued_at, content) = content.split_first_chunk::<8>().ok_or(TokenError::Forged)?;
    let (fingerprint, content) = content.split_first_chunk::<8>().ok_or(TokenError::Forged)?;
    let (created_at, order_id) = content.split_first_chunk::<8>().ok_or(TokenError::Forged)?;
    let order_id = str::from_utf8(order_id).map_err(|_| TokenError::Forged)?;

    if u64::from_be_bytes(*fingerprint) != query.fingerprint() {
        return Err(TokenError::OtherQuery);
    }
    if now.saturating_sub(i64::from_be_bytes(*issued_at)) > LIFETIME_NANOS {
        return Err(TokenError::Stale);
    }
    Ok(Position {
        created_at: i64::from_be_bytes(*created_at),
        order_id: order_id.to_owned(),
    })
}

/// The 64-bit FNV-1a hash, fixed for good because tokens outlive releases.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000_000_000;

    fn query() -> Query {
        Query {
            owner: "ann".to_owned(),
            customer: "c1".to_owned(),
            status: OrderStatus::Unspecified,
        }
    }

    fn last() -> Position {
        Position {
            created_at: NOW - 5,
            order_id: "ORD-000000000001".to_owned(),
        }
    }

    #[test]
    fn sizes_have_a_default_and_a_maximum() {
        assert_eq!(
            [0, 1, 100, 101, i32::MAX].map(size),
            [50, 1, 100, 100, 100].map(Some)
        );
        assert_eq!(size(-1), None);
    }

    #[test]
    fn a_token_gives_its_position_back() {
        let longest = Position {
            order_id: "x".repeat(64),
            ..last()
        };
        for last in [last(), longest] {
            assert_eq!(position(&token(&query(), &last, NOW), &query(), NOW), Ok(last));
        }
    }

    #[test]
    fn any_changed_character_is_forged() {
        let token = token(&query(), &last(), NOW);
        for index in 0..token.len() {
            let other = if &token[index..=index] == "0" { "1" } else { "0" };
            let changed = format!("{}{other}{}", &token[..index], &token[index + 1..]);
            assert_eq!(
                position(&changed, &query(), NOW),
                Err(TokenError::Forged),
                "{index}"
            );
            assert_eq!(
                position(&token[..index], &query(), NOW),
                Err(TokenError::Forged),
                "{index}"
            );
        }
        for text in ["x", "page 2", &"00".repeat(500)] {
            assert_eq!(position(text, &query(), NOW), Err(TokenError::Forged));
        }
    }

    #[test]
    fn every_part_of_the_query_binds_the_token() {
        let token = token(&query(), &last(), NOW);
        let others = [
            Query {
                owner: "bob".to_owned(),
                ..query()
            },
            Query {
                owner: String::new(),
                ..query()
            },
            Query {
                customer: String::new(),
                ..query()
            },
            Query {
                customer: "c2".to_owned(),
                ..query()
            },
            Query {
                status: OrderStatus::Paid,
                ..query()
            },
            Query {
                owner: "annc1".to_owned(),
                customer: String::new(),
                ..query()
            },
        ];
        for other in others {
            assert_eq!(
                position(&token, &other, NOW),
                Err(TokenError::OtherQuery),
                "{other:?}"
            );
        }
    }

    #[test]
    fn an_old_token_is_stale() {
        let token = token(&query(), &last(), NOW);
        position(&token, &query(), NOW + LIFETIME_NANOS).expect("just good enough");
        assert_eq!(
            position(&token, &query(), NOW + LIFETIME_NANOS + 1),
            Err(TokenError::Stale)
        );
    }

    #[test]
    fn a_token_of_another_version_is_stale() {
        let mut content = vec![VERSION + 1, 1, 2, 3];
        content.extend(fnv1a(&content).to_be_bytes());
        let mut text = String::new();
        hex::push(&mut text, &content, hex::LOWER);
        assert_eq!(position(&text, &query(), NOW), Err(TokenError::Stale));
    }
}
