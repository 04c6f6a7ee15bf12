use mortise_guest::details::ResourceInfo;
use mortise_guest::store::{Page, ReadTable};
use mortise_guest::testing::Host;
use mortise_guest::{Code, Scan};

use crate::pb::Greeting;
use crate::{fail, ok};

fn greeting(text: &str) -> Greeting {
    Greeting {
        text: text.to_owned(),
    }
}

#[test]
fn messages_are_stored_under_keys() {
    let mut host = Host::new();
    ok(&mut host, |call| {
        let table = call.table::<Greeting>("greetings");
        table.insert("ann", &greeting("hi"))?;
        table.put("bob", &greeting("hello"))
    });
    ok(&mut host, |call| {
        let table = call.table::<Greeting>("greetings");
        assert_eq!(table.get("ann")?, Some(greeting("hi")));
        assert_eq!(table.get("eve")?, None);
        let many = table.get_many(["bob", "eve", "ann"])?;
        assert_eq!(many, [Some(greeting("hello")), None, Some(greeting("hi"))]);
        assert!(table.delete("ann")?);
        assert!(!table.delete("ann")?);
        assert_eq!(table.get("ann")?, None);
        Ok(())
    });
    assert_eq!(host.rows::<Greeting>("greetings").len(), 1);
    assert_eq!(host.stored("greetings", "bob"), Some(greeting("hello")));
}

#[test]
fn tables_do_not_meet() {
    let mut host = Host::new();
    ok(&mut host, |call| {
        call.table::<u64>("a").put("k", &1)?;
        call.table::<u64>("ab").put("k", &2)?;
        call.table::<u64>("b").put("k", &3)
    });
    let rows: Vec<u64> = host.rows("a").into_iter().map(|(_, value)| value).collect();
    assert_eq!(rows, [1]);
    let page = ok(&mut host, |call| call.table::<u64>("a").scan(Scan::all()));
    assert_eq!(page.entries.len(), 1);
}

#[test]
fn a_taken_key_is_named() {
    let mut host = Host::new();
    ok(&mut host, |call| call.table("orders").insert(("eu", 7u64), &1u64));
    let status = fail(&mut host, |call| call.table("orders").insert(("eu", 7u64), &2u64));
    assert_eq!(
        (status.code(), status.message()),
        (Code::AlreadyExists, "`eu/7` already exists in orders")
    );
    let resource: ResourceInfo = status.detail().expect("which resource");
    assert_eq!(
        (resource.resource_type.as_str(), resource.resource_name.as_str()),
        ("orders", "eu/7")
    );
    assert_eq!(host.stored("orders", ("eu", 7u64)), Some(1u64));
}

#[test]
fn versions_count_commits() {
    let mut host = Host::new();
    let version = |host: &mut Host, key: &'static str| {
        ok(host, |call| {
            Ok(call
                .table::<u64>("t")
                .get_versioned(key)?
                .map(|found| found.version))
        })
    };
    ok(&mut host, |call| call.table("t").put("a", &1u64));
    ok(&mut host, |call| {
        call.table("t").put("b", &1u64)?;
        assert_eq!(
            call.table::<u64>("t")
                .get_versioned("b")?
                .map(|found| found.version),
            Some(0)
        );
        Ok(())
    });
    let (a, b) = (version(&mut host, "a"), version(&mut host, "b"));
    assert!(a.is_some() && a < b, "{a:?} {b:?}");
    assert_eq!(version(&mut host, "c"), None);
}

#[test]
fn a_value_of_another_type_is_data_loss() {
    let mut host = Host::new();
    ok(&mut host, |call| call.table("t").put("k", &300u64));
    let status = fail(&mut host, |call| call.table::<Greeting>("t").get("k"));
    assert_eq!(
        (status.code(), status.message()),
        (Code::DataLoss, "Stored data cannot be read")
    );
    assert!(status.cause().is_some());
}

/// A table of (region, number) with 1 to 5 in "eu", 1 in "eux" and 9 in "us".
fn regions() -> Host {
    let mut host = Host::new();
    ok(&mut host, |call| {
        let table = call.table::<u64>("t");
        for (region, number) in [
            ("eu", 1),
            ("eu", 2),
            ("eu", 3),
            ("eu", 4),
            ("eu", 5),
            ("eux", 1),
            ("us", 9),
        ] {
            table.insert((region, number), &u64::try_from(number).expect("positive"))?;
        }
        Ok(())
    });
    host
}

fn shown(page: &Page<u64>) -> Vec<String> {
    page.entries.iter().map(|entry| entry.key.to_string()).collect()
}

#[track_caller]
fn check_scan(scan: Scan, expected: &[&str]) {
    let page = ok(&mut regions(), |call| call.table::<u64>("t").scan(scan));
    assert_eq!(shown(&page), expected);
    assert_eq!(page.cursor, None);
}

#[test]
fn scans_take_what_they_say() {
    check_scan(
        Scan::all(),
        &["eu/1", "eu/2", "eu/3", "eu/4", "eu/5", "eux/1", "us/9"],
    );
    check_scan(
        Scan::all().descending(),
        &["us/9", "eux/1", "eu/5", "eu/4", "eu/3", "eu/2", "eu/1"],
    );
    check_scan(Scan::prefix("eu"), &["eu/1", "eu/2", "eu/3", "eu/4", "eu/5"]);
    check_scan(Scan::prefix(("eu", 3)), &["eu/3"]);
    check_scan(
        Scan::starting_with("eu"),
        &["eu/1", "eu/2", "eu/3", "eu/4", "eu/5", "eux/1"],
    );
    check_scan(
        Scan::starting_with(""),
        &["eu/1", "eu/2", "eu/3", "eu/4", "eu/5", "eux/1", "us/9"],
    );
    check_scan(Scan::prefix("asia"), &[]);
    check_scan(Scan::range(("eu", 2)..("eu", 4)), &["eu/2", "eu/3"]);
    check_scan(Scan::range(("eu", 2)..=("eu", 4)), &["eu/2", "eu/3", "eu/4"]);
    check_scan(Scan::range(("eu", 5)..), &["eu/5", "eux/1", "us/9"]);
    check_scan(Scan::range(..("eu", 2)).descending(), &["eu/1"]);
    check_scan(Scan::range(("eu", 2)..("eu", 2)), &[]);
    let after = (std::ops::Bound::Excluded(("eu", 4)), std::ops::Bound::Unbounded);
    check_scan(Scan::range(after), &["eu/5", "eux/1", "us/9"]);
}

/// All pages of a scan, read in one call each.
fn pages(host: &mut Host, scan: &Scan) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut cursor = None;
    loop {
        let page = ok(host, |call| {
            let table: &ReadTable<'_, u64> = &call.table::<u64>("t");
            table.scan(scan.clone().resume(cursor))
        });
        pages.push(shown(&page));
        cursor = page.cursor;
        if cursor.is_none() {
            return pages;
        }
    }
}

#[test]
fn scans_go_on_page_by_page() {
    let mut host = regions();
    let up = pages(&mut host, &Scan::prefix("eu").limit(2));
    assert_eq!(up, [vec!["eu/1", "eu/2"], vec!["eu/3", "eu/4"], vec!["eu/5"]]);
    let down = pages(
        &mut host,
        &Scan::range(("eu", 2)..("eux", 1)).descending().limit(2),
    );
    // A page that is full does not know that it is the last.
    assert_eq!(down, [vec!["eu/5", "eu/4"], vec!["eu/3", "eu/2"], vec![]]);
}

#[test]
fn a_cursor_fits_only_its_scan() {
    let mut host = regions();
    let page = ok(&mut host, |call| {
        call.table::<u64>("t").scan(Scan::prefix("eu").limit(2))
    });
    for other in [Scan::prefix("us"), Scan::prefix("eu").descending()] {
        let cursor = page.cursor.clone();
        let status = fail(&mut host, |call| {
            call.table::<u64>("t").scan(other.resume(cursor))
        });
        assert_eq!(status.code(), Code::Internal);
        assert!(status.message().contains("cursor"), "{status}");
    }
}

#[test]
fn scans_see_the_calls_own_writes() {
    let mut host = regions();
    let page = ok(&mut host, |call| {
        let table = call.table::<u64>("t");
        table.delete(("eu", 1))?;
        table.put(("eu", 2), &20)?;
        table.put(("eu", 6), &6)?;
        table.scan(Scan::prefix("eu"))
    });
    assert_eq!(shown(&page), ["eu/2", "eu/3", "eu/4", "eu/5", "eu/6"]);
    let versions: Vec<bool> = page.entries.iter().map(|entry| entry.version == 0).collect();
    assert_eq!(versions, [true, false, false, false, true]);
    assert_eq!(page.entries[0].value, 20);
}
