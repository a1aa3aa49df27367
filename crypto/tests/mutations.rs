//! What is sealed or wrapped does not open once anything about it was changed: bits, lengths, order, or parts of others.
//!
//! Each test tries as many changes as its constant says, chosen by a generator that always gives the same ones.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm};
use cairn_crypto::customer_key::CustomerKeyWrap;
use cairn_crypto::issued_key::IssuedKeyWrap;
use cairn_crypto::seal::{Chunk, ChunkSealer, SealId};
use cairn_crypto::sealed_checksum::{ChecksumScope, open_checksum, seal_checksum};
use cairn_crypto::secret::{CustomerKey, DataKey, Layers, MasterKey, StoreKey};
use cairn_crypto::store_key::Keyring;
use cairn_crypto::wrap::{KeyWrap, MasterKeyWrap, WrapContext, Wrapped};

/// Changes of contents, for each number of layers.
const CONTENTS: u32 = 100_000;

/// Changes of wrapped keys, of all kinds together.
const WRAPPED: u32 = 100_000;

/// Changes of sealed checksums.
const CHECKSUMS: u32 = 20_000;

/// Wraps of one key, no two of which may have the same salt and nonce.
const WRAPS: u32 = 10_000;

const CHUNK_BYTES: usize = 40;
const CHUNKS: usize = 5;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    /// Some change of some bytes; `others` are spliced in.
    fn change(&mut self, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
        let length = bytes.len();
        match self.roll(5) {
            0 => bytes[self.roll(length)] ^= 1 << self.roll(8),
            1 => bytes.truncate(self.roll(length)),
            2 => bytes.insert(self.roll(length + 1), self.roll(256) as u8),
            3 => drop(bytes.remove(self.roll(length))),
            _ => {
                let (at, other) = (self.roll(length), &others[self.roll(others.len())]);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[at.min(other.len())..]);
            }
        }
    }
}

/// A content as it lies on disk: its chunks, each of which says whether it is the last.
type Content = Vec<(Vec<u8>, bool)>;

fn seal(sealer: &ChunkSealer, fill: u8) -> Content {
    let seal_one = |index: usize| {
        // Chunks of one content are alike, so that only their place tells them apart.
        let mut chunk = vec![fill; CHUNK_BYTES];
        let last = index == CHUNKS - 1;
        chunk.resize(CHUNK_BYTES + sealer.overhead_bytes(), 0);
        sealer.seal_in_place(Chunk::new(index as u64, last), &mut chunk).unwrap();
        (chunk, last)
    };
    (0..CHUNKS).map(seal_one).collect()
}

/// Reads it as a reader does: to the chunk that is the last, behind which nothing may come.
fn read(sealer: &ChunkSealer, content: &Content) -> Option<Vec<u8>> {
    let mut plaintext = Vec::new();
    for (index, (chunk, last)) in content.iter().enumerate() {
        let mut chunk = chunk.clone();
        plaintext.extend_from_slice(sealer.open(Chunk::new(index as u64, *last), &mut chunk).ok()?);
        if *last {
            return (index == content.len() - 1).then_some(plaintext);
        }
    }
    None
}

fn change(dice: &mut Dice, content: &mut Content, others: &[Content]) {
    let (one, two) = (dice.roll(CHUNKS), dice.roll(CHUNKS));
    match dice.roll(8) {
        0 => content.swap(one, two),
        1 => content.truncate(one),
        2 => {
            content.truncate(one + 1);
            content[one].1 = true;
        }
        3 => drop(content.remove(one)),
        4 => content.insert(one, content[two].clone()),
        5 => content[one] = others[dice.roll(others.len())][two].clone(),
        6 => content[one].1 = !content[one].1,
        _ => {
            let spare: Vec<Vec<u8>> = others.iter().map(|other| other[one].0.clone()).collect();
            dice.change(&mut content[one].0, &spare);
        }
    }
}

#[test]
fn a_content_that_was_swapped_reordered_cut_or_changed_is_never_read() {
    let mut dice = Dice(1);
    for layers in [Layers::One, Layers::Two] {
        let sealer = |key: u8, id: u8| {
            ChunkSealer::new(&DataKey::from_bytes([key; 32]).in_layers(layers), SealId::from_bytes([id; 16]))
        };
        let reader = sealer(1, 1);
        let good = seal(&reader, 9);
        assert_eq!(read(&reader, &good), Some(vec![9; CHUNKS * CHUNK_BYTES]));
        // Of the same data key, of another one, and of the same content in one layer.
        let once = ChunkSealer::new(&DataKey::from_bytes([1; 32]), SealId::from_bytes([1; 16]));
        let mut others = vec![seal(&sealer(1, 2), 9), seal(&sealer(2, 1), 9)];
        if layers == Layers::Two {
            others.push(seal(&once, 9));
        }
        for number in 0..CONTENTS {
            let mut bad = good.clone();
            change(&mut dice, &mut bad, &others);
            if bad != good {
                assert_eq!(read(&reader, &bad), None, "{layers:?}, change {number}");
            }
        }
    }
}

fn context(version: u8) -> WrapContext<'static> {
    WrapContext { partition: [1; 16], object_key: b"key", version: [version; 16] }
}

#[test]
fn a_wrapped_key_that_was_changed_never_opens() {
    let keyring =
        |bytes: &[u8]| Keyring::new(bytes.iter().map(|byte| StoreKey::from_bytes([*byte; 32])).collect()).unwrap();
    let wraps: [(&str, Box<dyn KeyWrap>, Layers); 5] = [
        ("master key", Box::new(MasterKeyWrap::new(&MasterKey::from_bytes([1; 32]))), Layers::One),
        ("key store", Box::new(keyring(&[1, 2])), Layers::One),
        ("customer", Box::new(CustomerKeyWrap::new(CustomerKey::from_bytes([1; 32]))), Layers::One),
        ("issued", Box::new(IssuedKeyWrap::new(DataKey::from_bytes([1; 32]))), Layers::One),
        ("issued, two layers", Box::new(IssuedKeyWrap::new(DataKey::from_bytes([1; 32]))), Layers::Two),
    ];
    let mut dice = Dice(2);
    for (name, wrap, layers) in &wraps {
        let key = |byte| DataKey::from_bytes([byte; 32]).in_layers(*layers);
        let good = wrap.wrap(&key(1), &context(1)).unwrap().as_bytes().to_vec();
        assert!(wrap.opens(&Wrapped::from_bytes(good.clone()).unwrap(), &context(1)));
        // Of another key for the same object, of the same key for another one, and of the same by another kind of wrap.
        let mut others: Vec<Vec<u8>> = wraps
            .iter()
            .map(|(_, other, layers)| {
                other.wrap(&DataKey::from_bytes([1; 32]).in_layers(*layers), &context(2)).unwrap()
            })
            .map(|wrapped| wrapped.as_bytes().to_vec())
            .collect();
        others.push(wrap.wrap(&key(2), &context(1)).unwrap().as_bytes().to_vec());
        let genuine = others.last().cloned();
        for number in 0..WRAPPED / wraps.len() as u32 {
            let mut bad = good.clone();
            dice.change(&mut bad, &others);
            if bad != good && Some(&bad) != genuine.as_ref() {
                let bad = Wrapped::from_bytes(bad).unwrap();
                assert!(!wrap.opens(&bad, &context(1)), "{name}, change {number}");
            }
        }
    }
}

#[test]
fn a_sealed_checksum_that_was_changed_never_opens() {
    let (key, mut dice) = (DataKey::from_bytes([1; 32]), Dice(3));
    let checksum = Checksum::from_bytes(ChecksumAlgorithm::Sha256, &[5; 32]).unwrap();
    let sealed = |scope| seal_checksum(&key, &checksum, scope).unwrap();
    let good = sealed(ChecksumScope::Part(1));
    let others = [sealed(ChecksumScope::Part(2)), sealed(ChecksumScope::Object), sealed(ChecksumScope::Composite)];
    for number in 0..CHECKSUMS {
        let mut bad = good.clone();
        dice.change(&mut bad, &others);
        let opened = open_checksum(&key, ChecksumAlgorithm::Sha256, &bad, ChecksumScope::Part(1));
        assert_eq!(opened.is_ok(), bad == good, "change {number}");
    }
}

/// Salt and nonce follow the header, whose length this is.
#[test]
fn no_two_wraps_under_one_key_have_the_same_salt_and_nonce() {
    let store = Keyring::new(vec![StoreKey::from_bytes([1; 32])]).unwrap();
    let customer = CustomerKeyWrap::new(CustomerKey::from_bytes([1; 32]));
    let issued = IssuedKeyWrap::new(DataKey::from_bytes([1; 32]));
    let wraps: [(&dyn KeyWrap, std::ops::Range<usize>); 3] = [(&store, 9..37), (&customer, 1..45), (&issued, 2..30)];
    for (wrap, random) in wraps {
        let mut seen = HashSet::new();
        for _ in 0..WRAPS {
            let wrapped = wrap.wrap(&DataKey::from_bytes([2; 32]), &context(1)).unwrap();
            assert!(seen.insert(wrapped.as_bytes()[random.clone()].to_vec()), "{wrap:?}");
        }
    }
}
