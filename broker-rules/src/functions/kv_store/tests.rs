//! The store keeps what it is told, and no more than it may.

use super::*;
use crate::functions::tests::calls::{in_env, run_in, within};
use crate::limits::Limits;

#[test]
fn values_come_back_until_they_are_deleted() {
    in_env(|env| {
        let run = |call: &str| run_in(env, call);
        assert_eq!(run("kv_store_put('k', json_decode('{\"a\":[1,\"x\"]}'))"), "true");
        assert_eq!(run("kv_store_get('k')"), "{\"a\":[1,\"x\"]}");
        assert_eq!(run("kv_store_put('k', 2)"), "true");
        assert_eq!(run("kv_store_get('k', 0)"), "2");
        // A number is another key than its text.
        assert_eq!(run("kv_store_put(1, 'int')"), "true");
        assert_eq!(run("kv_store_get('1')"), "undefined");
        assert_eq!(run("kv_store_del('k')"), "true");
        assert_eq!(run("kv_store_get('k', 0)"), "0");
        assert!(run("kv_store_put('k', null())").starts_with("error: kv_store_put: argument 2"));
        assert!(run("kv_store_put(null(), 1)").starts_with("error: kv_store_put: argument 1"));
    });
}

#[test]
fn the_oldest_keys_make_room() {
    let store = KvStore::default();
    for n in 0..KvStore::KEYS_MAX as u64 {
        store.put(n.to_le_bytes().to_vec(), Value::Null, 1);
    }
    // Put again, so not the oldest any more.
    store.put(0_u64.to_le_bytes().to_vec(), Value::Null, 1);
    store.put(b"new".to_vec(), Value::Null, 1);
    assert!(store.find(&0_u64.to_le_bytes()).is_some());
    assert!(store.find(&1_u64.to_le_bytes()).is_none());
    assert_eq!(store.0.lock().by_key.len(), KvStore::KEYS_MAX);
    assert_eq!(store.0.lock().bytes, KvStore::KEYS_MAX);
}

#[test]
fn bytes_are_bounded_and_counted_down_again() {
    let store = KvStore::default();
    let half = KvStore::BYTES_MAX / 2;
    for key in [b"a", b"b", b"c"] {
        store.put(key.to_vec(), Value::Null, half);
    }
    assert!(store.find(b"a").is_none() && store.find(b"b").is_some());
    store.remove(b"b");
    store.remove(b"c");
    assert_eq!(store.0.lock().bytes, 0);
    assert!(store.0.lock().by_age.is_empty());
}

#[test]
fn a_slice_does_not_keep_the_message() {
    in_env(|env| {
        let message = Bytes::from(vec![b'm'; 4096]);
        let mut args = [Value::text("k"), Value::Str(message.slice(..1))];
        let row = &crate::functions::tests::calls::Sample;
        crate::functions::find("kv_store_put").unwrap().apply(&mut args, row, env).unwrap();
        drop(args);
        assert!(message.is_unique());
    });
    let limits = Limits { max_value_bytes: 100, ..Limits::default() };
    within(&limits, |env| {
        let error = run_in(env, "kv_store_put('k', json_decode('[1,2,3,4]'))");
        assert!(error.ends_with("larger than max_value_bytes"), "{error}");
    });
}
