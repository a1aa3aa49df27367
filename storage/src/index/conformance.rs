//! What every index must do: one suite, run against each implementation by `conformance_tests!`.
#![allow(clippy::unwrap_used)]

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::{
    BATCH_BYTES_MAX, Batch, Family, Index, IndexError, KeyRange, Outcome, Partition, Refusal, Revision, Row,
    counter_from_bytes, counter_to_bytes,
};

/// An empty index and what must live as long as it does.
pub(crate) struct Subject {
    pub(crate) index: Arc<dyn Index>,
    pub(crate) _keep: Box<dyn Any + Send>,
}

/// Runs the suite: `conformance_tests!(make)` with `fn make() -> Subject`.
macro_rules! conformance_tests {
    ($make:path) => {
        $crate::index::conformance::conformance_tests!(@each $make:
            a_row_is_read_back_with_its_revision,
            a_deleted_row_is_absent,
            empty_keys_and_values_are_rows,
            a_guard_on_absence_holds_only_without_the_row,
            a_guard_on_a_revision_holds_only_for_that_revision,
            a_row_put_again_with_the_same_value_has_another_revision,
            a_conflict_leaves_nothing_behind,
            a_batch_that_writes_nothing_verifies_its_guards,
            the_last_write_of_a_row_in_a_batch_wins,
            adds_count_from_zero_and_accumulate,
            an_add_to_a_row_that_is_no_counter_is_refused_whole,
            a_write_wins_over_an_add_of_the_same_row,
            a_batch_above_the_limit_is_refused_whole,
            a_batch_at_the_limit_is_committed,
            partitions_do_not_see_each_other,
            families_do_not_see_each_other,
            a_page_sees_one_snapshot,
            what_a_page_answers_reaches_the_caller,
            a_cursor_walks_its_range_in_byte_order,
            an_empty_range_has_no_rows,
            a_seek_moves_forward_only,
            revisions_grow,
            the_newest_change_of_a_partition_is_told,
            a_far_page_sees_what_any_page_sees,
            concurrent_adds_lose_nothing_and_share_no_revision,
            concurrent_guarded_increments_lose_nothing,
            random_batches_do_what_a_plain_map_does,
        );
    };
    (@each $make:path: $($behaviour:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                let subject = $make();
                $crate::index::conformance::$behaviour(&subject.index).await;
            }
        )*
    };
}
pub(crate) use conformance_tests;

const HOME: Partition = Partition([7; 16]);
const FAMILY: Family = Family::Current;

fn put(key: &[u8], value: &'static [u8]) -> Batch {
    let mut batch = Batch::new();
    batch.put(FAMILY, key, value);
    batch
}

async fn committed(index: &Arc<dyn Index>, partition: Partition, batch: Batch) -> Revision {
    match index.commit(partition, batch).await {
        Outcome::Committed(revision) => revision,
        other => panic!("not committed: {other:?}"),
    }
}

async fn get(index: &Arc<dyn Index>, partition: Partition, family: Family, key: &[u8]) -> Option<Row> {
    let key = key.to_vec();
    index.view(partition, move |view| view.get(family, &key)).await.unwrap()
}

async fn value(index: &Arc<dyn Index>, key: &[u8]) -> Option<Bytes> {
    get(index, HOME, FAMILY, key).await.map(|row| row.value)
}

async fn count(index: &Arc<dyn Index>, key: &[u8]) -> i64 {
    let row = get(index, HOME, Family::Usage, key).await;
    row.map_or(0, |row| counter_from_bytes(&row.value).unwrap())
}

type Rows = Vec<(Vec<u8>, Revision, Vec<u8>)>;

async fn scan(index: &Arc<dyn Index>, partition: Partition, family: Family, range: KeyRange) -> Rows {
    index
        .view(partition, move |view| {
            let mut rows = Vec::new();
            let mut cursor = view.cursor(family, range.clone())?;
            while let Some((key, revision, value)) = cursor.row() {
                rows.push((key.to_vec(), revision, value.to_vec()));
                cursor.advance()?;
            }
            // The end stays the end.
            cursor.advance()?;
            assert_eq!(cursor.row(), None);
            Ok(rows)
        })
        .await
        .unwrap()
}

async fn keys(index: &Arc<dyn Index>, range: KeyRange) -> Vec<Vec<u8>> {
    scan(index, HOME, FAMILY, range).await.into_iter().map(|(key, _, _)| key).collect()
}

pub(crate) async fn a_row_is_read_back_with_its_revision(index: &Arc<dyn Index>) {
    let revision = committed(index, HOME, put(b"k", b"v")).await;
    let expected = Row { revision, value: Bytes::from_static(b"v") };
    assert_eq!(get(index, HOME, FAMILY, b"k").await, Some(expected));
    assert_eq!(scan(index, HOME, FAMILY, KeyRange::all()).await, [(b"k".to_vec(), revision, b"v".to_vec())]);
}

pub(crate) async fn a_deleted_row_is_absent(index: &Arc<dyn Index>) {
    let mut delete = Batch::new();
    delete.delete(FAMILY, b"k");
    committed(index, HOME, delete.clone()).await;
    committed(index, HOME, put(b"k", b"v")).await;
    committed(index, HOME, delete).await;
    assert_eq!(value(index, b"k").await, None);
    assert!(keys(index, KeyRange::all()).await.is_empty());
}

pub(crate) async fn empty_keys_and_values_are_rows(index: &Arc<dyn Index>) {
    committed(index, HOME, put(b"", b"")).await;
    assert_eq!(value(index, b"").await, Some(Bytes::new()));
    assert_eq!(keys(index, KeyRange::all()).await, [b""]);
}

pub(crate) async fn a_guard_on_absence_holds_only_without_the_row(index: &Arc<dyn Index>) {
    let mut batch = put(b"k", b"v");
    batch.guard(FAMILY, b"k", None);
    committed(index, HOME, batch.clone()).await;
    assert_eq!(index.commit(HOME, batch.clone()).await, Outcome::Conflict);
    let mut delete = Batch::new();
    delete.delete(FAMILY, b"k");
    committed(index, HOME, delete).await;
    committed(index, HOME, batch).await;
}

pub(crate) async fn a_guard_on_a_revision_holds_only_for_that_revision(index: &Arc<dyn Index>) {
    let first = committed(index, HOME, put(b"k", b"1")).await;
    let mut batch = put(b"k", b"2");
    batch.guard(FAMILY, b"k", Some(first));
    let second = committed(index, HOME, batch.clone()).await;
    assert_eq!(index.commit(HOME, batch).await, Outcome::Conflict);
    for wrong in [Some(first), Some(Revision(second.0 + 1)), Some(Revision(0)), None] {
        let mut batch = put(b"k", b"3");
        batch.guard(FAMILY, b"k", wrong);
        assert_eq!(index.commit(HOME, batch).await, Outcome::Conflict, "{wrong:?}");
    }
    let mut absent = put(b"other", b"3");
    absent.guard(FAMILY, b"other", Some(second));
    assert_eq!(index.commit(HOME, absent).await, Outcome::Conflict);
    assert_eq!(value(index, b"k").await.unwrap(), &b"2"[..]);
}

pub(crate) async fn a_row_put_again_with_the_same_value_has_another_revision(index: &Arc<dyn Index>) {
    let first = committed(index, HOME, put(b"k", b"v")).await;
    let mut delete = Batch::new();
    delete.delete(FAMILY, b"k");
    committed(index, HOME, delete).await;
    committed(index, HOME, put(b"k", b"v")).await;
    let mut batch = put(b"k", b"w");
    batch.guard(FAMILY, b"k", Some(first));
    assert_eq!(index.commit(HOME, batch).await, Outcome::Conflict);
}

pub(crate) async fn a_conflict_leaves_nothing_behind(index: &Arc<dyn Index>) {
    committed(index, HOME, put(b"there", b"v")).await;
    let mut batch = put(b"new", b"v");
    batch.delete(FAMILY, b"there");
    batch.add(Family::Usage, b"count", 1);
    batch.guard(FAMILY, b"absent", None);
    batch.guard(FAMILY, b"there", None);
    assert_eq!(index.commit(HOME, batch).await, Outcome::Conflict);
    assert_eq!(keys(index, KeyRange::all()).await, [b"there"]);
    assert_eq!(get(index, HOME, Family::Usage, b"count").await, None);
}

pub(crate) async fn a_batch_that_writes_nothing_verifies_its_guards(index: &Arc<dyn Index>) {
    let revision = committed(index, HOME, put(b"k", b"v")).await;
    let mut batch = Batch::new();
    batch.guard(FAMILY, b"k", Some(revision));
    assert!(matches!(index.commit(HOME, batch).await, Outcome::Committed(_)));
    let mut batch = Batch::new();
    batch.guard(FAMILY, b"k", None);
    assert_eq!(index.commit(HOME, batch).await, Outcome::Conflict);
}

pub(crate) async fn the_last_write_of_a_row_in_a_batch_wins(index: &Arc<dyn Index>) {
    let mut batch = put(b"put", b"1");
    batch.put(FAMILY, b"put", &b"2"[..]);
    batch.put(FAMILY, b"deleted", &b"1"[..]);
    batch.delete(FAMILY, b"deleted");
    batch.delete(FAMILY, b"back");
    batch.put(FAMILY, b"back", &b"3"[..]);
    committed(index, HOME, batch).await;
    assert_eq!(keys(index, KeyRange::all()).await, [&b"back"[..], b"put"]);
    assert_eq!(value(index, b"put").await.unwrap(), &b"2"[..]);
}

pub(crate) async fn adds_count_from_zero_and_accumulate(index: &Arc<dyn Index>) {
    let mut batch = Batch::new();
    batch.add(Family::Usage, b"a", 5);
    batch.add(Family::Usage, b"a", -2);
    batch.add(Family::Usage, b"b", i64::MAX);
    let first = committed(index, HOME, batch.clone()).await;
    assert_eq!((count(index, b"a").await, count(index, b"b").await), (3, i64::MAX));
    let mut again = Batch::new();
    again.add(Family::Usage, b"a", -7);
    let second = committed(index, HOME, again).await;
    assert_eq!(count(index, b"a").await, -4);
    assert_eq!(get(index, HOME, Family::Usage, b"a").await.unwrap().revision, second);
    assert_eq!(get(index, HOME, Family::Usage, b"b").await.unwrap().revision, first);
}

pub(crate) async fn an_add_to_a_row_that_is_no_counter_is_refused_whole(index: &Arc<dyn Index>) {
    committed(index, HOME, put(b"text", b"seven b")).await;
    let mut batch = put(b"k", b"v");
    batch.add(Family::Usage, b"count", 1);
    batch.add(FAMILY, b"text", 1);
    assert_eq!(index.commit(HOME, batch).await, Outcome::Refused(Refusal::Unreadable));
    assert_eq!(value(index, b"k").await, None);
    assert_eq!(count(index, b"count").await, 0);
    committed(index, HOME, put(b"k", b"v")).await;
}

pub(crate) async fn a_write_wins_over_an_add_of_the_same_row(index: &Arc<dyn Index>) {
    let mut batch = Batch::new();
    batch.put(Family::Usage, b"put", counter_to_bytes(10).to_vec());
    batch.add(Family::Usage, b"put", 1);
    batch.add(Family::Usage, b"deleted", 1);
    batch.delete(Family::Usage, b"deleted");
    committed(index, HOME, batch).await;
    assert_eq!(count(index, b"put").await, 10);
    assert_eq!(get(index, HOME, Family::Usage, b"deleted").await, None);
    let mut batch = Batch::new();
    batch.add(Family::Usage, b"put", 1);
    batch.add(Family::Usage, b"deleted", 1);
    committed(index, HOME, batch).await;
    assert_eq!((count(index, b"put").await, count(index, b"deleted").await), (11, 1));
}

pub(crate) async fn a_batch_above_the_limit_is_refused_whole(index: &Arc<dyn Index>) {
    let mut batch = put(b"small", b"v");
    batch.put(FAMILY, b"large", vec![1; BATCH_BYTES_MAX]);
    assert_eq!(index.commit(HOME, batch).await, Outcome::Refused(Refusal::TooLarge));
    assert!(keys(index, KeyRange::all()).await.is_empty());
}

pub(crate) async fn a_batch_at_the_limit_is_committed(index: &Arc<dyn Index>) {
    let mut batch = Batch::new();
    let mut bytes_left = BATCH_BYTES_MAX;
    for key in 0_u32..4 {
        let size = (BATCH_BYTES_MAX / 4 - 4).min(bytes_left);
        batch.put(Family::Inline, key.to_be_bytes(), vec![key as u8; size]);
        bytes_left -= size + 4;
    }
    assert_eq!(batch.size_bytes(), BATCH_BYTES_MAX);
    committed(index, HOME, batch).await;
    let row = get(index, HOME, Family::Inline, &3_u32.to_be_bytes()).await.unwrap();
    assert_eq!(row.value, vec![3; BATCH_BYTES_MAX / 4 - 4]);
}

pub(crate) async fn partitions_do_not_see_each_other(index: &Arc<dyn Index>) {
    let neighbours = [Partition::SYSTEM, HOME, Partition([8; 16]), Partition([0xFF; 16])];
    for (number, partition) in neighbours.into_iter().enumerate() {
        let mut batch = Batch::new();
        batch.guard(FAMILY, b"k", None);
        batch.put(FAMILY, b"k", vec![number as u8]);
        batch.put(FAMILY, vec![0xFF; 40], vec![number as u8]);
        batch.add(Family::Usage, b"k", number as i64);
        committed(index, partition, batch).await;
    }
    for (number, partition) in neighbours.into_iter().enumerate() {
        let rows = scan(index, partition, FAMILY, KeyRange::all()).await;
        let found: Vec<_> = rows.into_iter().map(|(key, _, value)| (key, value)).collect();
        assert_eq!(found, [(b"k".to_vec(), vec![number as u8]), (vec![0xFF; 40], vec![number as u8])]);
        let counter = get(index, partition, Family::Usage, b"k").await;
        assert_eq!(counter.map_or(0, |row| counter_from_bytes(&row.value).unwrap()), number as i64);
    }
}

pub(crate) async fn families_do_not_see_each_other(index: &Arc<dyn Index>) {
    let mut batch = Batch::new();
    for family in Family::ALL {
        batch.guard(family, b"k", None);
        batch.put(family, b"k", family.name().as_bytes());
    }
    let revision = committed(index, HOME, batch).await;
    for family in Family::ALL {
        let expected = (b"k".to_vec(), revision, family.name().as_bytes().to_vec());
        assert_eq!(scan(index, HOME, family, KeyRange::all()).await, [expected]);
    }
}

pub(crate) async fn a_page_sees_one_snapshot(index: &Arc<dyn Index>) {
    const MOVES: i64 = 300;
    let writer = index.clone();
    let writer = tokio::spawn(async move {
        for number in 0..MOVES {
            let mut batch = Batch::new();
            batch.put(FAMILY, b"a", counter_to_bytes(number).to_vec());
            batch.put(Family::Hidden, b"b", counter_to_bytes(number).to_vec());
            batch.add(Family::Usage, b"c", 1);
            committed(&writer, HOME, batch).await;
        }
    });
    while !writer.is_finished() {
        let (a, b, c) = index
            .view(HOME, |view| {
                let a = view.get(FAMILY, b"a")?.map(|row| row.revision);
                std::thread::yield_now();
                let b = view.cursor(Family::Hidden, KeyRange::all())?.row().map(|(_, revision, _)| revision);
                std::thread::yield_now();
                Ok((a, b, view.get(Family::Usage, b"c")?.map(|row| row.revision)))
            })
            .await
            .unwrap();
        assert_eq!((a, b), (b, c));
    }
    writer.await.unwrap();
    assert_eq!(count(index, b"c").await, MOVES);
}

pub(crate) async fn what_a_page_answers_reaches_the_caller(index: &Arc<dyn Index>) {
    assert_eq!(index.view(HOME, |_| Ok(7)).await, Ok(7));
    let refused: Result<(), _> = index.view(HOME, |_| Err(IndexError::Corrupt("row".to_owned()))).await;
    assert_eq!(refused, Err(IndexError::Corrupt("row".to_owned())));
}

/// Keys in byte order that an order-breaking encoding would mix up.
const ORDERED_KEYS: [&[u8]; 12] = [
    b"",
    b"\x00",
    b"\x00\x00",
    b"\x00\xFF",
    b"a",
    b"a\x00",
    b"a\x00b",
    b"a\x01",
    b"a/b",
    b"b",
    b"\xFE\xFF\xFF",
    b"\xFF\xFF",
];

async fn put_ordered_keys(index: &Arc<dyn Index>) {
    let mut batch = Batch::new();
    for key in ORDERED_KEYS.iter().rev() {
        batch.put(FAMILY, *key, &b"v"[..]);
    }
    committed(index, HOME, batch).await;
}

fn range(start: &[u8], end: Option<&[u8]>) -> KeyRange {
    KeyRange { start: start.to_vec(), end: end.map(<[u8]>::to_vec) }
}

pub(crate) async fn a_cursor_walks_its_range_in_byte_order(index: &Arc<dyn Index>) {
    put_ordered_keys(index).await;
    assert_eq!(keys(index, KeyRange::all()).await, ORDERED_KEYS);
    for (from, start) in ORDERED_KEYS.iter().enumerate() {
        assert_eq!(keys(index, range(start, None)).await, ORDERED_KEYS[from..]);
        for (to, end) in ORDERED_KEYS.iter().enumerate().skip(from) {
            assert_eq!(keys(index, range(start, Some(end))).await, ORDERED_KEYS[from..to]);
        }
    }
    assert_eq!(keys(index, KeyRange::prefix(b"a")).await, ORDERED_KEYS[4..9]);
    assert_eq!(keys(index, KeyRange::prefix(b"\xFF")).await, ORDERED_KEYS[11..]);
    assert_eq!(keys(index, range(b"a0", Some(b"\xFE"))).await, ORDERED_KEYS[9..10]);
}

pub(crate) async fn an_empty_range_has_no_rows(index: &Arc<dyn Index>) {
    put_ordered_keys(index).await;
    for (start, end) in [(&b"a"[..], &b"a"[..]), (b"b", b"a"), (b"\xFF\xFF\xFF", b""), (b"c", b"d"), (b"", b"")] {
        let found = keys(index, range(start, Some(end))).await;
        assert!(found.is_empty(), "{start:x?}..{end:x?}: {found:x?}");
    }
    assert!(keys(index, range(b"\xFF\xFF\x00", None)).await.is_empty());
}

pub(crate) async fn a_seek_moves_forward_only(index: &Arc<dyn Index>) {
    put_ordered_keys(index).await;
    let steps: [(&[u8], Option<&[u8]>); 9] = [
        (b"", Some(b"\x00")),
        (b"\x00", Some(b"\x00")),
        (b"\x00\x01", Some(b"\x00\xFF")),
        (b"\x00", Some(b"\x00\xFF")),
        (b"a\x00", Some(b"a\x00")),
        (b"a\x02", Some(b"a/b")),
        (b"a0", Some(b"b")),
        (b"c", None),
        (b"a", None),
    ];
    let found = index
        .view(HOME, move |view| {
            let mut cursor = view.cursor(FAMILY, range(b"\x00", Some(b"\xFE")))?;
            let mut found = Vec::new();
            for (target, _) in steps {
                cursor.seek(target)?;
                found.push(cursor.row().map(|(key, _, _)| key.to_vec()));
            }
            Ok(found)
        })
        .await
        .unwrap();
    assert_eq!(found, steps.map(|(_, expected)| expected.map(<[u8]>::to_vec)));
}

pub(crate) async fn revisions_grow(index: &Arc<dyn Index>) {
    let mut last = committed(index, HOME, put(b"k", b"v")).await;
    for number in 0..50_u8 {
        let partition = Partition([number; 16]);
        let mut batch = Batch::new();
        match number % 3 {
            0 => batch.put(FAMILY, b"k", &b"v"[..]),
            1 => batch.delete(FAMILY, b"nothing"),
            _ => batch.add(Family::Usage, b"k", 1),
        }
        let revision = committed(index, partition, batch).await;
        assert!(revision > last);
        last = revision;
    }
}

const TASKS: usize = 64;

pub(crate) async fn concurrent_adds_lose_nothing_and_share_no_revision(index: &Arc<dyn Index>) {
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let index = index.clone();
            tokio::spawn(async move {
                let mut revisions = Vec::new();
                for _ in 0..10 {
                    let mut batch = Batch::new();
                    batch.add(Family::Usage, b"c", 1);
                    revisions.push(committed(&index, HOME, batch).await);
                }
                revisions
            })
        })
        .collect();
    let mut revisions = Vec::new();
    for task in tasks {
        revisions.extend(task.await.unwrap());
    }
    assert_eq!(count(index, b"c").await, 10 * TASKS as i64);
    revisions.sort();
    revisions.dedup();
    assert_eq!(revisions.len(), 10 * TASKS);
    assert!(committed(index, HOME, put(b"k", b"v")).await > revisions[10 * TASKS - 1]);
}

pub(crate) async fn concurrent_guarded_increments_lose_nothing(index: &Arc<dyn Index>) {
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let index = index.clone();
            tokio::spawn(async move {
                loop {
                    let row = get(&index, HOME, FAMILY, b"n").await;
                    let old = row.as_ref().map_or(0, |row| counter_from_bytes(&row.value).unwrap());
                    let mut batch = Batch::new();
                    batch.guard(FAMILY, b"n", row.map(|row| row.revision));
                    batch.put(FAMILY, b"n", counter_to_bytes(old + 1).to_vec());
                    match index.commit(HOME, batch).await {
                        Outcome::Committed(_) => return,
                        Outcome::Conflict => {}
                        other => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(counter_from_bytes(&value(index, b"n").await.unwrap()), Some(TASKS as i64));
}

/// One step of a random batch; keys are few, so that steps meet.
#[derive(Clone, Debug)]
enum Step {
    /// A guard that holds at the batch's beginning.
    GuardRight(Family, Vec<u8>),
    /// A guard that may not hold.
    Guard(Family, Vec<u8>, Option<u64>),
    Put(Family, Vec<u8>, Vec<u8>),
    Delete(Family, Vec<u8>),
    Add(Vec<u8>, i64),
}

fn step() -> impl Strategy<Value = Step> {
    let family = || prop_oneof![Just(Family::Current), Just(Family::Inline)];
    let key = || vec(prop_oneof![Just(0x00), Just(0xFF), Just(b'a')], 0..3);
    let value = vec(any::<u8>(), 0..600);
    prop_oneof![
        4 => (family(), key()).prop_map(|(family, key)| Step::GuardRight(family, key)),
        1 => (family(), key(), proptest::option::of(0_u64..40)).prop_map(|(f, k, r)| Step::Guard(f, k, r)),
        6 => (family(), key(), value).prop_map(|(family, key, value)| Step::Put(family, key, value)),
        3 => (family(), key()).prop_map(|(family, key)| Step::Delete(family, key)),
        1 => key().prop_map(|key| Step::Delete(Family::Usage, key)),
        3 => (key(), -5_i64..5).prop_map(|(key, delta)| Step::Add(key, delta)),
    ]
}

type Model = BTreeMap<(Family, Vec<u8>), (Revision, Vec<u8>)>;

fn batch_of(steps: &[Step], model: &Model) -> (Batch, bool) {
    let revision = |family: &Family, key: &Vec<u8>| model.get(&(*family, key.clone())).map(|row| row.0);
    let mut batch = Batch::new();
    let mut holds = true;
    for step in steps.iter().cloned() {
        match step {
            Step::GuardRight(family, key) => batch.guard(family, key.clone(), revision(&family, &key)),
            Step::Guard(family, key, wanted) => {
                holds &= wanted.map(Revision) == revision(&family, &key);
                batch.guard(family, key, wanted.map(Revision));
            }
            Step::Put(family, key, value) => batch.put(family, key, value),
            Step::Delete(family, key) => batch.delete(family, key),
            Step::Add(key, delta) => batch.add(Family::Usage, key, delta),
        }
    }
    (batch, holds)
}

fn apply(model: &mut Model, batch: &Batch, revision: Revision) {
    for add in batch.adds() {
        let row = model.entry((add.family, add.key.clone())).or_insert((revision, counter_to_bytes(0).to_vec()));
        *row = (revision, counter_to_bytes(counter_from_bytes(&row.1).unwrap() + add.delta).to_vec());
    }
    for write in batch.writes() {
        let key = (write.family, write.key.clone());
        match &write.value {
            Some(value) => model.insert(key, (revision, value.to_vec())),
            None => model.remove(&key),
        };
    }
}

async fn check_against_model(
    index: &Arc<dyn Index>,
    partition: Partition,
    batches: Vec<Vec<Step>>,
) -> Result<(), TestCaseError> {
    let mut model = Model::new();
    for steps in batches {
        let (batch, holds) = batch_of(&steps, &model);
        match index.commit(partition, batch.clone()).await {
            Outcome::Committed(revision) => {
                prop_assert!(holds);
                apply(&mut model, &batch, revision);
            }
            Outcome::Conflict => prop_assert!(!holds),
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        }
    }
    for family in [Family::Current, Family::Inline, Family::Usage] {
        let expected: Rows = model
            .iter()
            .filter(|(row, _)| row.0 == family)
            .map(|((_, key), (revision, value))| (key.clone(), *revision, value.clone()))
            .collect();
        prop_assert_eq!(scan(index, partition, family, KeyRange::all()).await, expected.clone());
        for (key, revision, value) in expected {
            let row = Row { revision, value: value.into() };
            prop_assert_eq!(get(index, partition, family, &key).await, Some(row));
        }
    }
    Ok(())
}

pub(crate) async fn random_batches_do_what_a_plain_map_does(index: &Arc<dyn Index>) {
    let index = index.clone();
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let mut runner = TestRunner::new(Config { cases: 96, failure_persistence: None, ..Config::default() });
        let partition = any::<[u8; 16]>().prop_map(Partition).no_shrink();
        runner
            .run(&(partition, vec(vec(step(), 1..8), 1..20)), |(partition, batches)| {
                runtime.block_on(check_against_model(&index, partition, batches))
            })
            .unwrap();
    })
    .await
    .unwrap();
}

pub(crate) async fn the_newest_change_of_a_partition_is_told(index: &Arc<dyn Index>) {
    assert_eq!(index.last_change(HOME), None);
    let first = committed(index, HOME, put(b"k", b"1")).await;
    assert_eq!(index.last_change(HOME), Some(first));
    let mut refused = put(b"k", b"2");
    refused.guard(FAMILY, b"k", None);
    assert_eq!(index.commit(HOME, refused).await, Outcome::Conflict);
    committed(index, Partition([8; 16]), put(b"k", b"3")).await;
    assert_eq!(index.last_change(HOME), Some(first));
}

pub(crate) async fn a_far_page_sees_what_any_page_sees(index: &Arc<dyn Index>) {
    for number in 0..50_u8 {
        committed(index, HOME, put(&[number], b"v")).await;
    }
    let far = index.view_far(HOME, |view| {
        let (mut found, mut cursor) = (Vec::new(), view.cursor(FAMILY, KeyRange::all())?);
        while let Some((key, ..)) = cursor.row() {
            found.push(key.to_vec());
            cursor.advance()?;
        }
        Ok(found)
    });
    assert_eq!(far.await.unwrap(), keys(index, KeyRange::all()).await);
}
