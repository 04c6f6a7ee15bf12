use std::fmt::Debug;

use mortise_guest::store::{FromKey, Key, RawScan, StoredKey};
use mortise_guest::testing::Host;

use crate::ok;

/// Stores something under each key, and gives the keys as the table orders them.
fn ordered<K: Key>(keys: impl IntoIterator<Item = K>) -> Vec<StoredKey> {
    let mut host = Host::new();
    ok(&mut host, |call| {
        let table = call.table::<()>("keys");
        keys.into_iter().try_for_each(|key| table.insert(key, &()))
    });
    host.rows::<()>("keys").into_iter().map(|(key, ())| key).collect()
}

/// The keys, given in order, are stored in that order, and come back as they were.
#[track_caller]
fn check_order<K: Key + FromKey + PartialEq + Debug>(keys: Vec<K>) {
    let stored = ordered(keys.iter().rev());
    let decoded: Vec<K> = stored
        .iter()
        .map(|key| key.decode().expect("a key of this type"))
        .collect();
    assert_eq!(decoded, keys);
}

#[test]
fn text_sorts_by_its_bytes() {
    let texts = [
        "",
        "\0",
        "\0\0",
        "\0a",
        "\u{1}",
        "a",
        "a\0",
        "a\0b",
        "aa",
        "b",
        "ä",
        "日本",
        "\u{10ffff}",
    ];
    check_order(texts.map(String::from).to_vec());
}

#[test]
fn bytes_sort_as_they_are() {
    check_order(vec![
        vec![],
        vec![0],
        vec![0, 0xff],
        vec![0, 0xff, 0],
        vec![1],
        vec![0xff],
        vec![0xff, 0xff],
    ]);
}

#[test]
fn numbers_sort_by_value() {
    check_order(vec![
        i64::MIN,
        i64::MIN + 1,
        -(1 << 32),
        -65_537,
        -65_536,
        -257,
        -256,
        -255,
        -2,
        -1,
        0,
        1,
        2,
        255,
        256,
        257,
        65_535,
        65_536,
        1 << 32,
        i64::MAX,
    ]);
    check_order(vec![0, 1, 255, 256, u64::MAX - 1, u64::MAX]);
    check_order(vec![i8::MIN, -1, 0, i8::MAX]);
    check_order(vec![false, true]);
}

#[test]
fn tuples_sort_element_by_element() {
    check_order(vec![
        ("a".to_owned(), -1i64, true),
        ("a".to_owned(), 0, false),
        ("a".to_owned(), 300, false),
        ("a\0".to_owned(), -300, false),
        ("ab".to_owned(), -300, false),
    ]);
}

#[test]
fn a_key_comes_before_those_that_go_on_from_it() {
    let keys: Vec<String> = ordered([("a", Some(1u8)), ("a", None), ("b", None)].map(Continued))
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(keys, ["a", "a/1", "b"]);
}

struct Continued((&'static str, Option<u8>));

impl Key for Continued {
    fn write(&self, key: &mut mortise_guest::store::KeyWriter) {
        let (head, tail) = &self.0;
        head.write(key);
        if let Some(tail) = tail {
            tail.write(key);
        }
    }
}

#[test]
fn the_encoding_is_the_documented_one() {
    let mut host = Host::new();
    ok(&mut host, |call| {
        let table = call.table::<()>("t");
        table.put(("a\0b", &[0u8, 1][..], -256i64, 0u8, 256u16, true), &())
    });
    let found = ok(&mut host, |call| {
        call.store()
            .get(b"\x02t\0\x02a\0\xffb\0\x01\0\xff\x01\0\x12\xfe\xff\x14\x16\x01\x00\x27")
    });
    assert!(found.is_some());
}

#[test]
fn a_key_of_another_type_is_an_error() {
    let [key] = &ordered([("a", 300u16)])[..] else {
        panic!("one key")
    };
    assert_eq!(key.decode::<(String, u16)>(), Ok(("a".to_owned(), 300)));
    for wrong in [
        key.decode::<String>().map(drop),
        key.decode::<(String, u8)>().map(drop),
        key.decode::<(String, u16, bool)>().map(drop),
        key.decode::<(u64, u16)>().map(drop),
        key.decode::<(Vec<u8>, bool)>().map(drop),
    ] {
        let status = wrong.expect_err("another type");
        assert_eq!(status.message(), "Stored data cannot be read");
        assert!(
            status.cause().is_some_and(|cause| cause.contains("expected")),
            "{status:?}"
        );
    }
}

#[test]
fn keys_are_shown_to_people() {
    let shown = ordered([("a b", -5i64, true)])
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>();
    assert_eq!(shown, ["a b/-5/true"]);
    assert_eq!(ordered([vec![0u8, 255]])[0].to_string(), "00ff");
}

/// Other languages go by the page.
#[test]
fn keys_are_as_documented() {
    let page = include_str!("../../../docs/keys.md");
    let documented = |key: &str| {
        let line = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{key}` |")));
        let line = line.unwrap_or_else(|| panic!("no example of {key}"));
        let bytes = line.rsplit('`').nth(1).expect("bytes in quotes").replace(' ', "");
        let digits = bytes.as_bytes().chunks(2);
        let byte = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).expect("ASCII"), 16);
        digits
            .map(|digits| byte(digits).expect("hexadecimal"))
            .collect::<Vec<u8>>()
    };
    #[track_caller]
    fn check(documented: Vec<u8>, table: &str, key: impl Key) {
        let mut host = Host::new();
        ok(&mut host, |call| call.table::<()>(table).put(&key, &()));
        let page = ok(&mut host, |call| {
            call.store().scan(RawScan {
                start: Vec::new(),
                end: None,
                cursor: None,
                descending: false,
                limit: 10,
            })
        });
        assert_eq!(page.entries[0].key, documented);
    }
    check(documented(r#"("stock", "tea")"#), "stock", "tea");
    for number in [0, 255, 256, -1, -256] {
        check(documented(&format!(r#"("n", {number})"#)), "n", number);
    }
    check(documented(r#"("n", "a\0b")"#), "n", "a\0b");
    check(documented(r#"("n", true)"#), "n", true);
    let indexed = documented(r#"("orders.by_customer", "ann", 3, "o1")"#);
    check(indexed, "orders.by_customer", ("ann", 3, "o1"));
}
