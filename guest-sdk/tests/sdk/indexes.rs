use mortise_guest::prost::Message;
use mortise_guest::store::{Index, Indexed};
use mortise_guest::testing::Host;
use mortise_guest::{Code, Scan};

use crate::{fail, ok};

#[derive(Clone, PartialEq, Message)]
struct Order {
    #[prost(string, tag = "1")]
    customer: String,
    #[prost(int64, tag = "2")]
    day: i64,
    #[prost(string, repeated, tag = "3")]
    tags: Vec<String>,
}

const BY_CUSTOMER: Index<Order> = Index::new("by_customer", |order, keys| {
    keys.add((&order.customer, order.day))
});
const BY_TAG: Index<Order> = Index::new("by_tag", |order, keys| {
    order.tags.iter().for_each(|tag| keys.add(tag));
});
const ORDERS: Indexed<Order> = Indexed::new("orders", &[BY_CUSTOMER, BY_TAG]);

fn order(customer: &str, day: i64, tags: &[&str]) -> Order {
    Order {
        customer: customer.to_owned(),
        day,
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
    }
}

fn by_customer(host: &mut Host, scan: Scan) -> Vec<String> {
    let page = ok(host, |call| call.indexed(&ORDERS).by(&BY_CUSTOMER, scan));
    let keys = page.entries.iter().map(|entry| entry.key.decode().expect("text"));
    keys.collect()
}

fn by_tag(host: &mut Host, tag: &str) -> Vec<String> {
    let page = ok(host, |call| {
        call.indexed(&ORDERS).keys_by(&BY_TAG, Scan::prefix(tag))
    });
    let keys = page.entries.iter().map(|entry| entry.key.decode().expect("text"));
    keys.collect()
}

fn with_orders() -> Host {
    let mut host = Host::new();
    ok(&mut host, |call| {
        let orders = call.indexed(&ORDERS);
        orders.insert("o1", &order("ann", 3, &["gift"]))?;
        orders.insert("o2", &order("bob", 1, &[]))?;
        orders.put("o3", &order("ann", 1, &["gift", "fast"]))?;
        orders.put("o4", &order("ann", 2, &[]))
    });
    host
}

#[test]
fn an_index_finds_messages_in_its_order() {
    let mut host = with_orders();
    assert_eq!(by_customer(&mut host, Scan::prefix("ann")), ["o3", "o4", "o1"]);
    assert_eq!(
        by_customer(&mut host, Scan::prefix("ann").descending().limit(2)),
        ["o1", "o4"]
    );
    assert_eq!(
        by_customer(&mut host, Scan::range(("ann", 2)..("ann", 9))),
        ["o4", "o1"]
    );
    assert_eq!(by_customer(&mut host, Scan::all()), ["o3", "o4", "o1", "o2"]);
    assert_eq!(by_tag(&mut host, "gift"), ["o1", "o3"]);
    assert_eq!(by_tag(&mut host, "none"), [""; 0]);
    let page = ok(&mut host, |call| {
        call.indexed(&ORDERS).by(&BY_CUSTOMER, Scan::prefix("bob"))
    });
    assert_eq!(page.entries[0].value, order("bob", 1, &[]));
    assert_eq!(page.entries[0].version, 1);
    // What the index says by itself: its elements, then the message's key.
    let page = ok(&mut host, |call| {
        call.indexed(&ORDERS).keys_by(&BY_CUSTOMER, Scan::prefix("bob"))
    });
    let found: (String, i64, String) = page.entries[0].found_by.decode().expect("as written");
    assert_eq!(found, ("bob".to_owned(), 1, "o2".to_owned()));
}

#[test]
fn pages_of_an_index_go_on() {
    let mut host = with_orders();
    let mut keys: Vec<String> = Vec::new();
    let mut cursor = None;
    loop {
        let scan = Scan::prefix("ann").limit(1).resume(cursor);
        let page = ok(&mut host, |call| call.indexed(&ORDERS).by(&BY_CUSTOMER, scan));
        keys.extend(
            page.entries
                .iter()
                .map(|entry| entry.key.decode::<String>().expect("text")),
        );
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(keys, ["o3", "o4", "o1"]);
}

#[test]
fn an_index_follows_every_change() {
    let mut host = with_orders();
    ok(&mut host, |call| {
        let orders = call.indexed(&ORDERS);
        orders.put("o1", &order("bob", 9, &["fast"]))?;
        assert!(orders.delete("o3")?);
        assert!(!orders.delete("o9")?);
        let found = orders.get_versioned("o4")?.expect("it is there");
        assert!(!orders.put_if("o4", &order("eve", 1, &[]), found.version + 1)?);
        assert!(orders.put_if("o4", &order("bob", 5, &[]), found.version)?);
        assert!(!orders.delete_if("o2", 99)?);
        Ok(())
    });
    assert_eq!(by_customer(&mut host, Scan::all()), ["o2", "o4", "o1"]);
    assert_eq!(by_tag(&mut host, "gift"), [""; 0]);
    assert_eq!(by_tag(&mut host, "fast"), ["o1"]);
    ok(&mut host, |call| {
        for key in ["o1", "o2", "o4"] {
            let orders = call.indexed(&ORDERS);
            let version = orders.get_versioned(key)?.expect("it is there").version;
            assert!(orders.delete_if(key, version)?);
        }
        Ok(())
    });
    assert_eq!(host.stored_len(), 0, "nothing is left behind");
}

#[test]
fn a_taken_key_and_a_failed_call_leave_the_index_alone() {
    let mut host = with_orders();
    let taken = fail(&mut host, |call| {
        call.indexed(&ORDERS).insert("o1", &order("eve", 1, &[]))
    });
    assert_eq!(taken.code(), Code::AlreadyExists);
    fail(&mut host, |call| {
        call.indexed(&ORDERS).put("o1", &order("eve", 1, &[]))?;
        Err::<(), _>(mortise_guest::Status::aborted("as told"))
    });
    assert_eq!(by_customer(&mut host, Scan::all()), ["o3", "o4", "o1", "o2"]);
}

#[test]
fn an_index_can_be_younger_than_its_table() {
    let mut host = Host::new();
    ok(&mut host, |call| {
        let plain = call.table::<Order>("orders");
        (0..5).try_for_each(|day| plain.put(day, &order("ann", day, &[])))
    });
    let mut cursor = None;
    loop {
        let scan = Scan::all().limit(2).resume(cursor);
        cursor = ok(&mut host, |call| call.indexed(&ORDERS).reindex(scan));
        if cursor.is_none() {
            break;
        }
    }
    let page = ok(&mut host, |call| {
        call.indexed(&ORDERS).by(&BY_CUSTOMER, Scan::prefix("ann"))
    });
    assert_eq!(page.entries.len(), 5);
}

#[test]
#[should_panic(expected = "table orders has no index elsewhere")]
fn an_index_of_another_table_is_a_mistake() {
    const ELSEWHERE: Index<Order> = Index::new("elsewhere", |_, _| ());
    let mut host = Host::new();
    ok(&mut host, |call| {
        call.indexed(&ORDERS).by(&ELSEWHERE, Scan::all())
    });
}

#[test]
fn versions_guard_what_a_client_saw() {
    let mut host = Host::new();
    ok(&mut host, |call| call.table::<u64>("stock").put("tea", &10));
    let seen = ok(&mut host, |call| call.table::<u64>("stock").get_versioned("tea"));
    let version = seen.expect("it is there").version;
    let sell = |host: &mut Host| ok(host, |call| call.table::<u64>("stock").put_if("tea", &9, version));
    assert!(sell(&mut host));
    assert!(!sell(&mut host), "it has changed since");
    assert!(!ok(&mut host, |call| call
        .table::<u64>("stock")
        .delete_if("tea", version)));
    assert_eq!(host.stored::<u64>("stock", "tea"), Some(9));
}

#[test]
fn a_quota_is_told_at_the_write() {
    let mut host = Host::new().quota(1 << 20, 2);
    ok(&mut host, |call| {
        let table = call.table::<u64>("numbers");
        table.put("one", &1)?;
        table.put("two", &2)?;
        let full = table.put("three", &3).expect_err("two keys are allowed");
        assert_eq!(full.code(), Code::ResourceExhausted);
        table.put("one", &11)?;
        table.delete("two")?;
        table.put("three", &3)
    });
    assert_eq!(host.stored_len(), 2);
    let status = fail(&mut Host::new().quota(40, 9), |call| {
        call.table::<Vec<u8>>("bytes").put("k", &vec![0; 40])
    });
    assert_eq!(status.code(), Code::ResourceExhausted);
}
