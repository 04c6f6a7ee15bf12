use mortise_guest::store::RawScan;
use mortise_guest::testing::{Host, Request};
use mortise_guest::{Code, Status};

use crate::{fail, ok};

#[test]
fn a_failed_call_leaves_nothing_behind() {
    let mut host = Host::new();
    ok(&mut host, |call| call.table("t").put("kept", &1u64));
    let status = fail(&mut host, |call| -> Result<(), Status> {
        let table = call.table::<u64>("t");
        table.put("kept", &2)?;
        table.put("new", &3)?;
        assert_eq!(table.get("kept")?, Some(2));
        Err(Status::aborted("changed my mind"))
    });
    assert_eq!(status.code(), Code::Aborted);
    assert_eq!(host.stored("t", "kept"), Some(1u64));
    assert_eq!(host.stored::<u64>("t", "new"), None);
}

#[test]
fn a_call_without_side_effects_cannot_write() {
    let mut host = Host::new();
    let mut refused = |write: fn(&mut mortise_guest::Call) -> Result<(), Status>| {
        let failure = host
            .call(Request::new().read_only(), write)
            .expect_err("read-only");
        assert_eq!(failure.status.code(), Code::Internal);
        assert!(failure.status.message().contains("may only read"), "{failure}");
    };
    refused(|call| call.table("t").put("k", &1u64));
    refused(|call| call.table("t").insert("k", &1u64));
    refused(|call| call.table::<u64>("t").delete("k").map(drop));
    refused(|call| call.publish("t", "k", &1u64));
    assert_eq!(host.stored_len(), 0);
}

#[test]
fn the_store_is_bytes_beneath() {
    let mut host = Host::new();
    ok(&mut host, |call| {
        let store = call.store();
        assert!(store.insert(b"a", b"1")?);
        assert!(!store.insert(b"a", b"2")?);
        store.put(b"b", b"2")?;
        store.put(b"c", b"3")?;
        assert!(store.delete(b"c")?);
        assert!(!store.delete(b"c")?);
        Ok(())
    });
    ok(&mut host, |call| {
        assert_eq!(
            call.store().get(b"a")?.map(|found| found.value),
            Some(b"1".to_vec())
        );
        let found = call.store().get_many(&[b"c".to_vec(), b"b".to_vec()])?;
        assert_eq!(
            found
                .into_iter()
                .map(|found| found.map(|found| found.value))
                .collect::<Vec<_>>(),
            [None, Some(b"2".to_vec())]
        );
        let scan = RawScan {
            start: Vec::new(),
            end: None,
            cursor: None,
            descending: true,
            limit: 1,
        };
        let page = call.store().scan(scan.clone())?;
        assert_eq!(
            page.entries
                .iter()
                .map(|entry| entry.key.as_slice())
                .collect::<Vec<_>>(),
            [b"b"]
        );
        let page = call.store().scan(RawScan {
            cursor: page.cursor,
            ..scan.clone()
        })?;
        assert_eq!(
            page.entries
                .iter()
                .map(|entry| entry.key.as_slice())
                .collect::<Vec<_>>(),
            [b"a"]
        );
        let page = call.store().scan(RawScan {
            cursor: page.cursor,
            ..scan
        })?;
        assert_eq!((page.entries, page.cursor), (Vec::new(), None));
        Ok(())
    });
}

#[test]
fn the_store_is_bounded() {
    let mut host = Host::new();
    let mut limit = |write: fn(&mut mortise_guest::Call) -> Result<(), Status>| {
        let status = fail(&mut host, write);
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        status.cause().map(str::to_owned)
    };
    let says = |limit: &str| Some(format!("the host's limit is {limit}"));
    assert_eq!(limit(|call| call.store().put(&[0; 1025], b"")), says("1024"));
    assert_eq!(
        limit(|call| call.store().put(b"k", &vec![0; (1 << 20) + 1])),
        says("1048576")
    );
    assert_eq!(
        limit(|call| (0..9).try_for_each(|key| call.store().put(&[key], &vec![0; 1 << 20]))),
        says("8388608")
    );
    assert_eq!(
        limit(|call| (0..10_001).try_for_each(|_| call.store().get(b"k").map(drop))),
        says("10000")
    );
    assert_eq!(host.stored_len(), 0);
}

#[test]
fn a_key_written_again_counts_once() {
    ok(&mut Host::new(), |call| {
        (0..20).try_for_each(|_| call.store().put(b"k", &vec![0; 1 << 20]))
    });
}

#[test]
fn a_failing_store_fails_the_call_as_the_host_says() {
    let mut host = Host::new();
    host.fail_store(Some(Status::unavailable("The store is not available")));
    let status = fail(&mut host, |call| call.table::<u64>("t").get("k"));
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "The store is not available")
    );
    host.fail_store(None);
    assert_eq!(ok(&mut host, |call| call.table::<u64>("t").get("k")), None);
}
