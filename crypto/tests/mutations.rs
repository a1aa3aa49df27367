//! A hundred thousand ways to tamper with a sealed content and with its wrapped key: none goes unnoticed.

#![allow(clippy::unwrap_used)]

use cairn_crypto::customer_key::CustomerKeyWrap;
use cairn_crypto::issued_key::IssuedKeyWrap;
use cairn_crypto::seal::{ChunkSealer, SealId};
use cairn_crypto::secret::{CustomerKey, DataKey, Layers, MasterKey, StoreKey};
use cairn_crypto::store_key::Keyring;
use cairn_crypto::wrap::{KeyWrap, MasterKeyWrap, WrapContext, Wrapped};

const MUTATIONS_COUNT: usize = 100_000;
const CONTENT_CHUNKS: usize = 6;
const CHUNK_BYTES: usize = 48;

/// SplitMix64: the same mutations in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Two different numbers.
    fn two_below(&mut self, bound: usize) -> (usize, usize) {
        let one = self.below(bound);
        (one, (one + 1 + self.below(bound - 1)) % bound)
    }
}

fn sealer(layers: Layers, key: u8, id: u8) -> ChunkSealer {
    ChunkSealer::new(&DataKey::from_bytes([key; 32]).in_layers(layers), SealId::from_bytes([id; 16]))
}

/// A sealed content; its last chunk is shorter.
fn content(sealer: &ChunkSealer, filled_with: u8) -> Vec<Vec<u8>> {
    (0..CONTENT_CHUNKS)
        .map(|index| {
            let last = index + 1 == CONTENT_CHUNKS;
            let mut chunk = vec![filled_with; if last { CHUNK_BYTES / 2 } else { CHUNK_BYTES }];
            sealer.seal(index as u64, last, &mut chunk).unwrap();
            chunk
        })
        .collect()
}

/// Opens a content as a reader does: in order, to the chunk that is the last one.
fn opens(sealer: &ChunkSealer, mut chunks: Vec<Vec<u8>>) -> bool {
    let count = chunks.len();
    let whole = chunks
        .iter_mut()
        .enumerate()
        .all(|(index, chunk)| sealer.open(index as u64, index + 1 == count, chunk).is_ok());
    whole && count > 0
}

#[test]
fn no_tampering_with_a_content_that_is_sealed_once_goes_unnoticed() {
    check_content(Layers::One);
}

#[test]
fn no_tampering_with_a_content_that_is_sealed_twice_goes_unnoticed() {
    check_content(Layers::Two);
}

fn check_content(layers: Layers) {
    let own = sealer(layers, 1, 1);
    let good = content(&own, 7);
    // The same plaintext: of another file under the same data key, of the same seal id under another key, and in another
    // number of layers.
    let other = if layers == Layers::One { Layers::Two } else { Layers::One };
    let strangers = [sealer(layers, 1, 2), sealer(layers, 2, 1), sealer(other, 1, 1)].map(|sealer| content(&sealer, 7));
    assert!(opens(&own, good.clone()));
    let mut random = Random(6);
    for number in 0..MUTATIONS_COUNT {
        let mut bad = good.clone();
        let what = random.below(7);
        match what {
            0 => {
                let chunk = &mut bad[random.below(CONTENT_CHUNKS)];
                let bit = random.below(chunk.len() * 8);
                chunk[bit / 8] ^= 1 << (bit % 8);
            }
            1 => {
                let (one, two) = random.two_below(CONTENT_CHUNKS);
                bad.swap(one, two);
            }
            2 => bad.truncate(random.below(CONTENT_CHUNKS)),
            3 => {
                let chunk = &mut bad[random.below(CONTENT_CHUNKS)];
                let length = random.below(chunk.len());
                chunk.truncate(length);
            }
            4 => {
                let place = random.below(CONTENT_CHUNKS);
                bad[place] = strangers[random.below(3)][place].clone();
            }
            5 => {
                // A chunk comes twice: beside itself, or instead of another one.
                let (from, to) = random.two_below(CONTENT_CHUNKS);
                let chunk = bad[from].clone();
                if random.below(2) == 0 { bad[to] = chunk } else { bad.insert(to, chunk) }
            }
            _ => {
                bad.remove(random.below(CONTENT_CHUNKS));
            }
        }
        assert!(!opens(&own, bad), "mutation {number} of kind {what}");
    }
}

#[test]
fn no_tampering_with_a_wrapped_key_goes_unnoticed() {
    let ring = Keyring::new(vec![StoreKey::from_bytes([1; 32]), StoreKey::from_bytes([2; 32])]).unwrap();
    let customer = CustomerKeyWrap::new(CustomerKey::from_bytes([3; 32]));
    let master = MasterKeyWrap::new(&MasterKey::from_bytes([4; 32]));
    let issued = IssuedKeyWrap::new(DataKey::from_bytes([5; 32]));
    let wraps: [&dyn KeyWrap; 4] = [&ring, &customer, &master, &issued];
    let key = DataKey::from_bytes([9; 32]);
    let context = WrapContext { partition: [1; 16], object_key: b"key", version: [2; 16] };
    let other = WrapContext { version: [3; 16], ..context };
    let good = wraps.map(|wrap| wrap.wrap(&key, &context).unwrap());
    let moved = wraps.map(|wrap| wrap.wrap(&key, &other).unwrap());
    let mut random = Random(7);
    for number in 0..MUTATIONS_COUNT {
        let place = random.below(wraps.len());
        let mut bad = good[place].as_bytes().to_vec();
        let what = random.below(5);
        match what {
            0 => {
                for _ in 0..=random.below(3) {
                    let bit = random.below(bad.len() * 8);
                    bad[bit / 8] ^= 1 << (bit % 8);
                }
            }
            1 => bad.truncate(random.below(bad.len())),
            2 => {
                let (one, two) = random.two_below(bad.len());
                bad.swap(one, two);
            }
            3 => bad = moved[place].as_bytes().to_vec(),
            _ => {
                // The beginning of one envelope on the end of another.
                let cut = 1 + random.below(bad.len() - 1);
                bad[cut..].copy_from_slice(&moved[place].as_bytes()[cut..]);
            }
        }
        if bad == good[place].as_bytes() {
            continue;
        }
        let opened = wraps[place].unwrap(&Wrapped::from_bytes(bad).unwrap(), &context);
        assert!(opened.is_err(), "mutation {number} of kind {what}");
    }
}
