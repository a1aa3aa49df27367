//! Writing: what one commit changes, and what must still be true for it.

use bytes::Bytes;

use super::{Family, Revision};

/// A row that must be as the caller saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The row's family.
    pub family: Family,
    /// Its key.
    pub key: Vec<u8>,
    /// The revision it must have; None: it must be absent.
    pub revision: Option<Revision>,
}

/// A row to put (Some) or delete (None).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The row's family.
    pub family: Family,
    /// Its key.
    pub key: Vec<u8>,
    /// The new value.
    pub value: Option<Bytes>,
}

/// A counter row to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add {
    /// The row's family.
    pub family: Family,
    /// Its key.
    pub key: Vec<u8>,
    /// What to add.
    pub delta: i64,
}

/// A counter row's value.
#[must_use]
pub fn counter_to_bytes(count: i64) -> [u8; 8] {
    count.to_be_bytes()
}

/// The count that a counter row's value holds; None if it is not a counter's.
#[must_use]
pub fn counter_from_bytes(value: &[u8]) -> Option<i64> {
    value.try_into().ok().map(i64::from_be_bytes)
}

/// Guards and writes that commit together within one partition. A batch that writes nothing only verifies its guards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    guards: Vec<Guard>,
    writes: Vec<Write>,
    adds: Vec<Add>,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The row must still have this revision, or (None) be absent. The call's comment names the race that it stops.
    pub fn guard(&mut self, family: Family, key: impl Into<Vec<u8>>, revision: Option<Revision>) {
        self.guards.push(Guard { family, key: key.into(), revision });
    }

    /// Puts a row. A later write of the same row in the batch wins.
    pub fn put(&mut self, family: Family, key: impl Into<Vec<u8>>, value: impl Into<Bytes>) {
        self.writes.push(Write { family, key: key.into(), value: Some(value.into()) });
    }

    /// Deletes a row; no error if it is absent.
    pub fn delete(&mut self, family: Family, key: impl Into<Vec<u8>>) {
        self.writes.push(Write { family, key: key.into(), value: None });
    }

    /// Adds `delta` to a counter row (i64, 8 bytes big endian; absent counts as 0), without a guard. A put or
    /// delete of the same row in the batch wins.
    pub fn add(&mut self, family: Family, key: impl Into<Vec<u8>>, delta: i64) {
        let key = key.into();
        // A batch has few counters, and what replaces something counts the same ones down and up.
        match self.adds.iter().position(|add| add.family == family && add.key == key) {
            Some(place) => {
                let sum = self.adds[place].delta.wrapping_add(delta);
                if sum == 0 {
                    self.adds.swap_remove(place);
                } else {
                    self.adds[place].delta = sum;
                }
            }
            None if delta != 0 => self.adds.push(Add { family, key, delta }),
            None => {}
        }
    }

    /// Everything `other` holds joins this batch.
    pub fn append(&mut self, other: Self) {
        self.guards.extend(other.guards);
        self.writes.extend(other.writes);
        self.adds.extend(other.adds);
    }

    /// Guards, writes and adds, each in the order they were made.
    #[must_use]
    pub(super) fn into_parts(self) -> (Vec<Guard>, Vec<Write>, Vec<Add>) {
        (self.guards, self.writes, self.adds)
    }

    /// The guards, in the order they were added.
    #[must_use]
    pub fn guards(&self) -> &[Guard] {
        &self.guards
    }

    /// Puts and deletes, in order.
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Counter changes.
    #[must_use]
    pub fn adds(&self) -> &[Add] {
        &self.adds
    }

    /// Whether it writes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.adds.is_empty()
    }

    /// Bytes of keys and values together, for the limits of a batch and a group.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let writes = self.writes.iter().map(|write| write.key.len() + write.value.as_ref().map_or(0, Bytes::len));
        writes.sum::<usize>() + self.adds.iter().map(|add| add.key.len() + 8).sum::<usize>()
    }
}
